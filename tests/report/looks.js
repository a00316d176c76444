// What a page looks like, as lists of what is wrong: run in Chromium by test_looks.py.
(() => {
  const name = (one) => `${one.closest("[id]")?.id}: ${one.tagName} ${one.getAttribute("class") ?? ""} ${one.textContent.trim().slice(0, 40)}`;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const seen = (one) => one.getClientRects().length > 0 && getComputedStyle(one).visibility === "visible";
  const box = (one) => one.getBoundingClientRect();
  const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;

  // ---- colours
  const rgba = (text) => { const [r, g, b, a = 1] = (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], ground) => [r, g, b].map((c, i) => a * c + (1 - a) * ground[i]);
  const light = (color) => color.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => { const [less, more] = [light(a), light(b)].sort((x, y) => x - y); return (more + 0.05) / (less + 0.05); };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 1 && !(at instanceof SVGElement)) return color.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const opacity = (one) => { let all = 1; for (let at = one; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity); return all; };
  const ratio = (one, color, alpha = 1) => {
    const [r, g, b, a] = rgba(color), under = ground(one);
    return contrast(over([r, g, b, a * Number(alpha) * opacity(one)], under), under);
  };
  const text = all("main *").filter((one) => seen(one) && !one.disabled && !one.closest(".heatmap-label, .modebar, .textpoint") &&
    [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  const marks = all(".trace path, .trace .points path, .errorbars path, .errorbar path, .shapelayer path, .legendlines path, .legendpoints path")
    .filter((one) => seen(one) && !one.matches(".js-fill") && !one.closest(".legendfill") &&
      !(one.matches(".js-line") && parseFloat(getComputedStyle(one).strokeWidth) === 0)); // the edges of a band are not drawn
  const drawn = (one) => {
    const style = getComputedStyle(one);
    const line = style.stroke === "none" || parseFloat(style.strokeWidth) === 0 ? 1 : ratio(one, style.stroke, style.strokeOpacity);
    const area = style.fill === "none" || style.fill.startsWith("url") || one.matches(".js-line") ? 1 : ratio(one, style.fill, style.fillOpacity);
    return Math.max(line, area);
  };

  // ---- what is wrong
  const scrolls = all("main *").filter((one) => {
    const style = getComputedStyle(one);
    return [["overflowX", "scrollWidth", "clientWidth"], ["overflowY", "scrollHeight", "clientHeight"]]
      .some(([how, inner, outer]) => /auto|scroll/.test(style[how]) && one[inner] > one[outer] + 1);
  });
  const within = document.documentElement.clientWidth;
  return {
    unreachable: [...new Set([...scrolls, ...all(".scroll")])].filter((one) => one.tabIndex < 0 || !one.ariaLabel || !one.role).map(name),
    nested: all("[role=img]").filter((one) => one.querySelector("a, button, input, [tabindex]")).map(name),
    unnamed: all("button, a").filter((one) => seen(one) && !(one.ariaLabel || one.textContent.trim())).map(name),
    wide: all("main *").filter((one) => seen(one) && box(one).right > within + 1 && !one.closest(".scroll") && !one.closest("svg")).map(name),
    cut: all(".drawing").flatMap((drawing) => all("text", drawing).filter((one) => seen(one) && one.textContent.trim() &&
      (box(one).left < box(drawing).left - 2 || box(one).right > box(drawing).right + 2 || box(one).bottom > box(drawing).bottom + 2)).map(name)),
    covered: all(".drawing").flatMap((drawing) => all(".infolayer [class$=title] text, .infolayer text[class$=title]", drawing).filter((title) =>
      all(".xaxislayer-above text, .yaxislayer-above text, .overaxes-above text", drawing).some((tick) => seen(tick) && !apart(box(title), box(tick)))).map(name)),
    crowded: all(".heatmap-label text").filter((one) => {
      const plot = box(one.closest(".drawing").querySelector(".nsewdrag")), n = one.closest(".drawing").data[0].z.length;
      return box(one).width > plot.width / n - 1;
    }).map(name),
    broken: all(".pictures span, figcaption, .facts dt").filter((one) => {
      one.style.overflowWrap = "normal";
      const over = one.scrollWidth > one.clientWidth + 1;
      one.style.overflowWrap = "";
      return over;
    }).map(name),
    empty: all(".plot").filter((one) => box(one).bottom - box(one.querySelector("figcaption")).bottom > 30).map(name),
    pale: text.map((one) => [one, ratio(one, one instanceof SVGElement ? getComputedStyle(one).fill : getComputedStyle(one).color)])
      .filter(([, is]) => is < 4.5).map(([one, is]) => `${is.toFixed(2)} ${name(one)}`),
    faint: marks.map((one) => [one, drawn(one)]).filter(([, is]) => is < 3).map(([one, is]) => `${is.toFixed(2)} ${name(one)}`),
    counted: { text: text.length, marks: marks.length, drawings: all(".drawing").length, scrolls: scrolls.length, numbers: all(".heatmap-label text").length },
    findings: box(document.querySelector(".findings p, .scroll")).bottom,
  };
})()
