"""Wrong answers to U18 that its checks must refuse."""

import math

import torch

from cryowalk.course.checks.u18 import SIDE, log_likelihoods, poses


def shares(*, stable=True, weighted=True, over="both", new="share"):
    def answer(scores, weights):
        joint = scores + (torch.log(weights)[None, :, None] if weighted else 0)
        joint = joint - joint.amax(dim=(1, 2), keepdim=True) if stable else joint
        share = torch.exp(joint)
        share = share / share.sum(dim=(1, 2) if over == "both" else 2, keepdim=True)
        return share, share.sum(dim=(0, 2)) / (len(scores) if new == "share" else 1)

    return lambda seed: answer


def spectral(*, first=1.0, others=2.0, last=1.0, constant=True):
    def answer(image, model, side, sigma):
        counted = torch.full((image.shape[-1],), others, dtype=torch.float64)
        counted[0] = first
        if side % 2 == 0:
            counted[-1] = last
        misfit = float((counted * (image - model).abs().square()).sum())
        return -misfit / (2 * sigma**2) - (side**2 / 2 * math.log(2 * math.pi * sigma**2) if constant else 0)

    return lambda seed: answer


def ctf_round(*, compares=True, weighs=True, squares=True):
    def answer(spectra, transfer, classes, sigma):
        counted = torch.full((spectra.shape[-1],), 2.0, dtype=torch.float64)
        counted[0] = 1.0
        seen = transfer[:, None] * classes if compares else classes.expand(len(spectra), -1, -1, -1)
        misfit = (counted * (spectra[:, None] - seen).abs().square()).sum(dim=(2, 3))
        share = torch.softmax(-misfit / (2 * sigma**2), dim=1)
        factor = transfer if weighs else torch.ones_like(transfer)
        above = torch.einsum("nk,nhw->khw", share.to(spectra.dtype), factor * spectra)
        below = torch.einsum("nk,nhw->khw", share, factor**2 if squares else factor.abs())
        return share, above / (below + 0.01)

    return lambda seed: answer


def run_em(*, starts=1, rounds=15, wrong_way=False, hard=False):
    def answer(images, classes, generator):
        pictures = torch.stack(
            [images[torch.randperm(len(images), generator=generator)[:40]].mean(dim=0) for _ in range(classes)]
        )
        course = []
        for _ in range(rounds):
            scores = log_likelihoods(images, pictures)
            course.append(float(torch.logsumexp(scores.flatten(1), dim=1).sum()))
            share = torch.softmax(scores.flatten(1), dim=1).reshape(scores.shape)
            sums = (share.reshape(len(images), -1).T @ images.reshape(len(images), -1)).reshape(classes, -1, SIDE, SIDE)
            sign = 1 if wrong_way else -1
            pictures = sum(
                torch.rot90(sums[:, g].roll((sign * s[0], sign * s[1]), dims=(-2, -1)), sign * t, dims=(-2, -1))
                for g, (t, s) in enumerate(poses())
            )
            pictures = pictures / share.sum(dim=(0, 2))[:, None, None]
        return pictures, share.sum(dim=2).argmax(dim=1), course

    return lambda seed: answer


def one_class(images, classes, generator):
    return images[:classes], torch.zeros(len(images), dtype=torch.long), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


BOARD = {
    "images": "constant",
    "CTF of each image": "constant",
    "grid of rotations and shifts": "constant",
    "number of classes": "constant",
    "responsibilities": "updated",
    "class averages": "updated",
    "class weights": "updated",
    "noise variance": "updated",
}

WRONG = {
    "U18.1": {
        "all of it": dict.fromkeys(BOARD, "updated"),
        "noise known": BOARD | {"noise variance": "constant"},
        "responsibilities given": BOARD | {"responsibilities": "constant"},
    },
    "U18.2": {
        "without class weights": shares(weighted=False),
        "each class by itself": shares(over="poses"),
        "overflows": shares(stable=False),
        "weights not divided": shares(new="sum"),
    },
    "U18.3": {
        "every column once": spectral(others=1.0),
        "every column twice": spectral(first=2.0, last=2.0),
        "Nyquist twice": spectral(last=2.0),
        "without the constant": spectral(constant=False),
    },
    "U18.4": {
        "plain mean": ctf_round(weighs=False),
        "compared without CTF": ctf_round(compares=False),
        "divided by |c|": ctf_round(squares=False),
    },
    "U18.5": {"the root": math.sqrt(50), "squared": 2500.0, "the ratio itself": 0.02},
    "U18.6": {
        "turned the wrong way": run_em(wrong_way=True),
        "one class for all": lambda seed: one_class,
        "too few rounds": run_em(rounds=3),
    },
    "U18.7": {"keeps everything": -100.0, "rejects everything": 1000.0},
}
