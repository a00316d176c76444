// Classifies pictures with the winner, in the page alone: the network's layers in plain JavaScript, and before them what
// hpo does to a picture of any size (Pillow's bicubic). An image is (height, width, channels) in one array, channels last.
{
  const network = read("network"), packed = Uint8Array.from(atob(network.weights), (c) => c.charCodeAt(0)).buffer;

  function tensor({ at, size, type, steps }) { // numbers of one array; of whole numbers, each output channel has its own step
    if (type === "f32") return new Float32Array(packed, at, size);
    const whole = type === "i16" ? new Int16Array(packed, at, size) : new Int8Array(packed, at, size), each = tensor(steps);
    return Float32Array.from(whole, (value, i) => value * each[i % each.length]);
  }

  const layers = network.layers.map((layer) =>
    Object.fromEntries(Object.entries(layer).map(([key, value]) => [key, value?.type ? tensor(value) : value])));

  function convolved({ pixels, height, width, channels }, { weight, bias, kernel, stride, pad, out }) {
    const rows = Math.floor((height + 2 * pad - kernel) / stride) + 1, columns = Math.floor((width + 2 * pad - kernel) / stride) + 1;
    const made = new Float32Array(rows * columns * out), sum = new Float64Array(out);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        if (bias) sum.set(bias); else sum.fill(0);
        for (let i = 0; i < kernel; i++) {
          const y = row * stride - pad + i;
          if (y < 0 || y >= height) continue;
          for (let j = 0; j < kernel; j++) {
            const x = column * stride - pad + j;
            if (x < 0 || x >= width) continue;
            const from = (y * width + x) * channels;
            let at = (i * kernel + j) * channels * out;
            for (let channel = 0; channel < channels; channel++, at += out) {
              const value = pixels[from + channel];
              if (value !== 0) for (let k = 0; k < out; k++) sum[k] += value * weight[at + k];
            }
          }
        }
        made.set(sum, (row * columns + column) * out);
      }
    }
    return { pixels: made, height: rows, width: columns, channels: out };
  }

  function pooled({ pixels, height, width, channels }) {
    const rows = height >> 1, columns = width >> 1, made = new Float32Array(rows * columns * channels);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const a = (2 * row * width + 2 * column) * channels, b = a + width * channels;
        for (let k = 0; k < channels; k++) {
          made[at++] = Math.max(pixels[a + k], pixels[a + channels + k], pixels[b + k], pixels[b + channels + k]);
        }
      }
    }
    return { pixels: made, height: rows, width: columns, channels };
  }

  function patched({ pixels, height, width, channels }, { edge }) { // each patch becomes channels: (channel, row, column)
    const rows = Math.floor(height / edge), columns = Math.floor(width / edge), out = channels * edge * edge;
    const made = new Float32Array(rows * columns * out);
    for (let y = 0; y < rows * edge; y++) {
      for (let x = 0; x < columns * edge; x++) {
        const to = (Math.floor(y / edge) * columns + Math.floor(x / edge)) * out + (y % edge) * edge + (x % edge);
        for (let k = 0; k < channels; k++) made[to + k * edge * edge] = pixels[(y * width + x) * channels + k];
      }
    }
    return { pixels: made, height: rows, width: columns, channels: out };
  }

  function grouped(image, { groups, epsilon, scale, shift }) {
    const { pixels, channels } = image, size = channels / groups, n = (pixels.length / channels) * size;
    for (let group = 0; group < groups; group++) {
      let total = 0, squares = 0;
      for (let i = group * size; i < pixels.length; i += channels) for (let k = i; k < i + size; k++) total += pixels[k];
      const mean = total / n;
      for (let i = group * size; i < pixels.length; i += channels) for (let k = i; k < i + size; k++) squares += (pixels[k] - mean) ** 2;
      const factor = 1 / Math.sqrt(squares / n + epsilon);
      for (let i = group * size; i < pixels.length; i += channels) {
        for (let k = 0; k < size; k++) pixels[i + k] = (pixels[i + k] - mean) * factor * scale[group * size + k] + shift[group * size + k];
      }
    }
    return image;
  }

  function errorFunction(x) { // Abramowitz and Stegun, 7.1.26: right to 1.5e-7
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x);
    return x < 0 ? tail - 1 : 1 - tail;
  }

  const each = (change) => (image, layer) => ({ ...image, pixels: image.pixels.map((value, i) => change(value, i, layer, image.channels)) });
  let kept; // what a residual path carries past its layers
  const does = {
    convolution: convolved, pool: pooled, patches: patched, group: grouped,
    affine: each((value, i, { scale, shift }, channels) => value * scale[i % channels] + shift[i % channels]),
    relu: each((value) => Math.max(0, value)),
    gelu: each((value) => 0.5 * value * (1 + errorFunction(value * Math.SQRT1_2))),
    silu: each((value) => value / (1 + Math.exp(-value))),
    keep(image) { kept = image.pixels; return image; },
    add: each((value, i) => value + kept[i]),
    multiply: each((value, i, { factor }) => value * factor),
    flatten: ({ pixels }) => ({ pixels, height: 1, width: 1, channels: pixels.length }),
    maximum({ pixels, channels }) {
      const made = new Float32Array(channels).fill(-Infinity);
      pixels.forEach((value, i) => { made[i % channels] = Math.max(made[i % channels], value); });
      return { pixels: made, height: 1, width: 1, channels };
    },
  };

  const reflected = (position, size) => (position < 0 ? -position : position >= size ? 2 * (size - 1) - position : position);

  function viewed(scaled, down, right, mirrored) { // the image with its pixels taken from so far down and right, reflected at the border
    const { edge, channels } = network;
    return scaled.map((_, i) => {
      const pixel = Math.floor(i / channels), column = pixel % edge, x = mirrored ? edge - 1 - column : column;
      const y = (pixel - column) / edge;
      return scaled[(reflected(y + down, edge) * edge + reflected(x + right, edge)) * channels + (i % channels)];
    });
  }

  function logits(bytes) { // of a square of network.edge pixels, (height, width, channels) as bytes; in all views that it was scored in
    const { edge, channels, factor, offset } = network;
    const scaled = Float32Array.from(bytes, (value, i) => value * factor[i % channels] + offset[i % channels]);
    const places = network.shifted ? [[0, 1 / 2], [-1, 1 / 4], [1, 1 / 4]] : [[0, 1]], sides = network.mirrored ? [false, true] : [false];
    const views = places.flatMap(([by, weight]) => sides.map((mirrored) => [viewed(scaled, by, by, mirrored), weight / sides.length]));
    const answers = views.map(([pixels, weight]) => [weight,
      layers.reduce((image, layer) => does[layer.kind](image, layer), { pixels, height: edge, width: edge, channels }).pixels]);
    return answers[0][1].map((_, i) => answers.reduce((sum, [weight, answer]) => sum + weight * answer[i], 0));
  }

  function shares(values) { // softmax
    const top = Math.max(...values), powers = Array.from(values, (value) => Math.exp(value - top));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  // Pillow's resize with Image.Resampling.BICUBIC: first to rows of the new width, then to columns, each rounded to bytes.
  function cubic(x) {
    const a = -0.5, d = Math.abs(x);
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
  }

  function taps(size, from, to, length) { // for each new pixel: the first old one, and the weights of those from there
    const scale = (to - from) / size, wide = Math.max(1, scale), support = 2 * wide;
    return Array.from({ length: size }, (_, i) => {
      const centre = from + (i + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - support + 0.5)), last = Math.min(length, Math.trunc(centre + support + 0.5));
      const weights = Array.from({ length: last - first }, (_, k) => cubic((k + first - centre + 0.5) / wide));
      const sum = weights.reduce((a, b) => a + b, 0);
      return { first, weights: weights.map((weight) => weight / sum) };
    });
  }

  function along(bytes, height, width, wanted, from, to, vertical) { // one direction of a resize, of RGB
    const columns = vertical ? width : wanted, rows = vertical ? wanted : height, made = new Uint8ClampedArray(rows * columns * 3);
    const every = taps(wanted, from, to, vertical ? height : width), step = vertical ? width * 3 : 3;
    for (let y = 0, at = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const { first, weights } = every[vertical ? y : x], begin = vertical ? first * step + x * 3 : (y * width + first) * 3;
        for (let k = 0; k < 3; k++) {
          let sum = 0;
          for (let i = 0; i < weights.length; i++) sum += bytes[begin + i * step + k] * weights[i];
          made[at++] = Math.floor(sum + 0.5); // clamped to 0 to 255
        }
      }
    }
    return made;
  }

  function reduced(bytes, height, width, across, down, [left, top, right, bottom]) { // means of blocks of pixels, within a box
    const columns = Math.ceil((right - left) / across), rows = Math.ceil((bottom - top) / down), made = new Uint8ClampedArray(rows * columns * 3);
    for (let row = 0, at = 0; row < rows; row++) {
      const y0 = top + row * down, y1 = Math.min(bottom, y0 + down);
      for (let column = 0; column < columns; column++) {
        const x0 = left + column * across, x1 = Math.min(right, x0 + across), n = (y1 - y0) * (x1 - x0);
        for (let k = 0; k < 3; k++) {
          let sum = 0;
          for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) sum += bytes[(y * width + x) * 3 + k];
          made[at++] = Math.floor(((sum + (n >> 1)) * Math.floor(2 ** 24 / n)) / 2 ** 24); // as Pillow divides
        }
      }
    }
    return [made, rows, columns];
  }

  function shrunk(bytes, height, width, edge, [left, top, right, bottom]) { // a far larger picture is reduced first (reducing_gap 3)
    const across = Math.trunc((right - left) / edge / 3) || 1, down = Math.trunc((bottom - top) / edge / 3) || 1;
    if (across === 1 && down === 1) return resized(bytes, height, width, edge, edge, [left, top, right, bottom]);
    const beside = (1.5 * (right - left)) / edge, above = (1.5 * (bottom - top)) / edge;
    const safe = [Math.max(0, Math.trunc(left - beside)), Math.max(0, Math.trunc(top - above)),
      Math.min(width, Math.ceil(right + beside)), Math.min(height, Math.ceil(bottom + above))];
    const [small, rows, columns] = reduced(bytes, height, width, across, down, safe);
    const box = [(left - safe[0]) / across, (top - safe[1]) / down, (right - safe[0]) / across, (bottom - safe[1]) / down];
    return resized(small, rows, columns, edge, edge, box);
  }

  function resized(bytes, height, width, rows, columns, [left, top, right, bottom]) {
    const across = along(bytes, height, width, columns, left, right, false);
    return along(across, height, columns, rows, top, bottom, true);
  }

  function square(bytes, height, width) { // as hpo brings any picture to the network's size: (edge, edge, 3) bytes
    const { edge, fit } = network;
    if (height === edge && width === edge) return bytes;
    if (fit === "pad") {
      const scale = edge / Math.max(height, width), even = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
      const rows = Math.max(1, even(height * scale)), columns = Math.max(1, even(width * scale)); // rounded as Python does
      const inner = resized(bytes, height, width, rows, columns, [0, 0, width, height]), made = new Uint8ClampedArray(edge * edge * 3);
      const top = (edge - rows) >> 1, left = (edge - columns) >> 1;
      for (let y = 0; y < rows; y++) made.set(inner.subarray(y * columns * 3, (y + 1) * columns * 3), ((top + y) * edge + left) * 3);
      return made;
    }
    const side = Math.min(height, width), left = (width - side) / 2, top = (height - side) / 2;
    const box = fit === "crop" ? [left, top, left + side, top + side] : [0, 0, width, height];
    return shrunk(bytes, height, width, edge, box);
  }

  function pixelsOf(source) { // of anything that can be drawn, over white; three bytes for each pixel
    const canvas = element("canvas", { width: source.naturalWidth ?? source.width, height: source.naturalHeight ?? source.height });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.fillStyle = "white";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(source, 0, 0);
    const four = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    return { bytes: four.filter((_, i) => i % 4 !== 3), height: canvas.height, width: canvas.width };
  }

  function coloured(bytes) { // with the channels of the network: grey, where its training images were
    const { channels, grey } = network;
    if (channels === 3 && !grey) return bytes;
    return Uint8Array.from({ length: (bytes.length / 3) * channels }, (_, i) => {
      const at = 3 * Math.floor(i / channels);
      return (19595 * bytes[at] + 38470 * bytes[at + 1] + 7471 * bytes[at + 2] + 0x8000) >> 16; // as Pillow makes grey
    });
  }

  function classified(source) { // [what the network sees, a share for each class]
    const { bytes, height, width } = pixelsOf(source), seen = square(bytes, height, width);
    return [seen, shares(logits(coloured(seen)))];
  }

  const place = document.getElementById("sees"), answer = place.querySelector("output");

  function tell(source, name) {
    const began = performance.now(), [seen, all] = classified(source), took = performance.now() - began;
    const canvas = element("canvas", { width: network.edge, height: network.edge, ariaLabel: "what the network sees", role: "img" });
    const image = new ImageData(network.edge, network.edge);
    image.data.forEach((_, i) => { image.data[i] = i % 4 === 3 ? 255 : seen[3 * (i >> 2) + (i % 4)]; });
    canvas.getContext("2d").putImageData(image, 0, 0);
    const best = all.map((share, i) => [share, i]).sort((a, b) => b[0] - a[0]).slice(0, 5);
    const bars = best.map(([share, i]) => {
      const bar = element("meter", { value: share, ariaLabel: network.classes[i] });
      return element("li", {}, element("span", { textContent: network.classes[i] }), bar, element("span", { textContent: (100 * share).toFixed(1) + " %" }));
    });
    answer.replaceChildren(canvas, element("ol", {}, ...bars),
      element("p", { className: "basis", textContent: `${name}: classified in ${Math.round(took)} ms, here in this page.` }));
  }

  async function open(file) {
    answer.textContent = "reading …";
    try {
      tell(await createImageBitmap(file), file.name);
    } catch {
      answer.textContent = `${file.name} cannot be shown by this browser: it is no picture, or of a format that it does not know.`;
    }
  }

  place.querySelector("input").onchange = ({ target }) => { if (target.files[0]) open(target.files[0]); };
  place.ondragover = (event) => { event.preventDefault(); place.classList.add("over"); };
  place.ondragleave = () => place.classList.remove("over");
  place.ondrop = (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  };
  document.querySelectorAll(".pictures img").forEach((picture) => {
    const button = element("button", { type: "button", title: "classify this picture" });
    picture.replaceWith(button);
    button.append(picture);
    button.onclick = () => { tell(picture, picture.alt); place.scrollIntoView({ block: "nearest" }); };
  });
  globalThis.sees = { logits, square, coloured, classified }; // for whoever wants to look closer, and for tests
}
