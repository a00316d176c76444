"""Own training code without torch: a linear classifier of scikit-learn on handwritten digits, an epoch at a time."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

import hpo

space = hpo.space(alpha=hpo.log(1e-6, 1e-1), loss=hpo.choice("hinge", "log_loss"), average=True)
objective = hpo.maximize("accuracy", share=True)


def train(config, data, resume):  # noqa: ARG001  # the file brings its own data
    digits = load_digits()
    pixels, labels = digits.data / 16, digits.target
    model = SGDClassifier(alpha=config.alpha, loss=config.loss, average=config.average, random_state=config.seed)
    model.partial_fit(pixels[:1], labels[:1], classes=np.arange(10))
    start = 0
    if resume:  # what scikit-learn itself goes on from
        start = resume.pop("epoch")
        vars(model).update(resume)
    for epoch in range(start, config.epochs):
        order = np.random.default_rng(config.seed + epoch).permutation(1000)
        model.partial_fit(pixels[order], labels[order])
        kept = ("coef_", "intercept_", "standard_coef_", "standard_intercept_", "average_coef_", "average_intercept_", "t_")
        kept = (*kept, "_standard_coef", "_standard_intercept", "_average_coef", "_average_intercept")
        state = {name: getattr(model, name) for name in kept if name in vars(model)}
        yield hpo.Epoch(model.score(pixels[1000:], labels[1000:]), state={**state, "epoch": epoch + 1})
