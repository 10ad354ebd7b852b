# %% [markdown]
# # U18 2D classes, and images that show no particle
#
# **Question.** Thousands of images, each too noisy to see anything, of several views, turned and moved at random, and some of them of nothing. How does one sort what one cannot see, and how does one throw away the right images?
#
# **What you need.** U17 (Bayes, EM in one dimension), U05 (correlation), the blur part of U07 (CTF), U16 (where the images come from).
#
# **What you will be able to do.**
#
# - say what a round of expectation–maximisation (EM) keeps and what it changes, and write one for several classes;
# - run EM, watch the likelihood rise, recognise a local maximum and do something about it;
# - move the whole calculation to Fourier space, where noise has a colour and the CTF is a factor;
# - reject junk with evidence: a figure, a threshold, and what both cost.
#
# About 90 minutes. *Blur*: averages, rounds, the threshold. *Sharpen*: responsibilities, EM, the likelihood in Fourier space, CTF.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier
from cryowalk.classification import ClassificationSettings, classify, judge_particles, neighbour_averages, rank_classes
from cryowalk.course import Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u18 import (
    PIXEL_SIZE,
    SIDE,
    defocus_pair,
    gains,
    junk_scene,
    kept_and_rejected,
    log_likelihoods,
    poses,
    purity,
    scene,
)
from cryowalk.data import ImageStack, Optics, ParticleSet

torch.set_num_threads(1)


def show(pictures, titles=(), *, columns=8, size=1.5):
    """Pictures in rows, each in greys of its own."""
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, (size + 0.2) * rows), squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
    for each, picture in zip(axes.flat, pictures, strict=False):
        each.imshow(picture, cmap="gray", origin="lower")
    for each, title in zip(axes.flat, titles, strict=False):
        each.set_title(title, fontsize=8)
    return figure


# %% [markdown] tags=["blur"]
# <a id="H16"></a>
# ## Particles, one stage further
#
# U16 ended with a stack. This unit sorts it, and the books go on: **images in = classified + left out**, and **classified = kept + rejected**. Here are 300 images, 33 pixels wide. They show three views of a molecule, in one of four quarter turns, moved by up to a pixel each way. (Quarter turns, so that nothing has to be interpolated and every statement below is exact. Real images are turned by any angle: the library does that, at the end.)

# %% tags=["blur"]
data = scene(18)
show(data.images[:16], columns=8)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U18.a. Sixteen of the 300. Noise has a variance of one, signal one of about 0.15. Which of them show the same view?*
#
# <a id="H18"></a>
# ## 2D classification
#
# **Why one averages.** In an average of $N$ images of one view, all in place, the signal stays and the noise's variance falls to $1/N$.


# %% tags=["blur"]
def draw_average(count, scatter):
    """The mean of so many images of one view, put back into place, except for a wrong move of this size."""
    source = torch.Generator().manual_seed(1)
    rows = torch.nonzero(data.label == 0)[: int(count), 0].tolist()
    pictures = []
    for row in rows:
        wrong = (scatter * torch.randn(2, generator=source)).round().long()
        y, x = (data.shift[row] + wrong).tolist()
        pictures.append(torch.rot90(data.images[row].roll((-y, -x), dims=(0, 1)), -int(data.turns[row])))
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
    for each, picture, title in zip(
        axes,
        (pictures[0], torch.stack(pictures).mean(dim=0), data.views[0]),
        ("one image", f"average of {len(rows)}", "the view itself"),
        strict=True,
    ):
        each.imshow(picture, cmap="gray", origin="lower")
        each.set(xticks=[], yticks=[], title=title)
    return figure


averager = exploration(
    draw_average,
    count=Slider(1, 120, 40, label="images averaged"),
    scatter=Slider(0.0, 6.0, 0.0, step=0.5, label="wrong moves (pixels)"),
)
averager

# %% [markdown] tags=["blur"]
# *Figure U18.b. Averaging shows the view, as long as the images lie where they should: a wrong move of three pixels blurs away all detail. So one must know the places before averaging, and see the view to find the places.*
#
# ### Exercise U18.5 · How many?
#
# Signal-to-noise ratio as the ratio of variances. A single image has 0.02. How many images of a class, all in place, give an average with a ratio of 1?

# %% tags=["blur"]
# BEGIN SOLUTION
my_count = 1 / 0.02
# END SOLUTION
check("U18.5", my_count)

# %% [markdown] tags=["blur"]
# **The way out of the circle** is to go round it. Begin with any pictures. *E-step*: how likely is each image, if it showed this picture, so turned, so moved? *M-step*: average all images with these likelihoods as weights, turned and moved back. New pictures, a new round. Nobody decides which class an image is in; it has a share in all of them, its **responsibilities**.
#
# Before you see it: 300 images, three classes, each begun as a mean of six random images. **What happens to the logarithm of the likelihood of all images from round to round?** (a) it rises in every round; (b) it rises on the whole, with setbacks; (c) it rises, then falls when noise is fitted.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "a"
# END SOLUTION
predict("U18.opening", my_guess, options=("a", "b", "c"))

# %% [markdown] tags=["sharpen"]
# <a id="Q-M10-3"></a>
# ## Several classes: *what has to be changed?*
#
# For one class and unknown shifts (U17) the responsibility of pose $g$ for image $i$ was $\gamma_{ig}\propto p(y_i\,|\,A, g)$. For several classes with weights $\pi_k$ there is one more index, and the sum in the denominator goes over it, too:
# $$ \gamma_{ikg} = \frac{\pi_k\, p(y_i\,|\,A_k, g)}{\sum_{k'g'} \pi_{k'}\, p(y_i\,|\,A_{k'}, g')}, \qquad \pi_k \leftarrow \frac1n\sum_{ig}\gamma_{ikg}, \qquad A_k \leftarrow \frac{\sum_{ig}\gamma_{ikg}\; g^{-1}y_i}{\sum_{ig}\gamma_{ikg}}. $$
# That is all. `log_likelihoods(images, pictures)` gives $\ln p(y_i|A_k,g)$, up to what all have in common, in an array `[images, classes, poses]`.
#
# ### Exercise U18.2 · Responsibilities
#
# Write `responsibilities(scores, weights)`: from such an array and the class weights, $\gamma$ (same shape) and the new weights. The logarithms may be in the thousands.


# %% tags=["sharpen"]
def responsibilities(scores, weights):
    """γ of every image, class and pose, and the new class weights."""
    # BEGIN SOLUTION
    joint = scores + torch.log(weights)[None, :, None]
    joint = joint - joint.amax(dim=(1, 2), keepdim=True)
    share = torch.exp(joint)
    share = share / share.sum(dim=(1, 2), keepdim=True)
    return share, share.sum(dim=(0, 2)) / len(scores)
    # END SOLUTION


check("U18.2", responsibilities)


# %% [markdown] tags=["sharpen"]
# The M-step turns every image back in every pose. It is cheaper the other way round: first sum images with their weights, $\sum_i\gamma_{ikg}y_i$, a matrix product, then turn back each *sum*. (The library does both steps as matrix products, too: that is what makes it fast.)


# %% tags=["sharpen"]
def put_back(pictures, turns, shift):
    """Pictures that were turned and then moved, moved and turned back."""
    return torch.rot90(pictures.roll((-shift[0], -shift[1]), dims=(-2, -1)), -turns, dims=(-2, -1))


def averages(images, share):
    """The class averages that these responsibilities make."""
    n, classes, places = share.shape
    sums = (share.reshape(n, -1).T @ images.reshape(n, -1)).reshape(classes, places, SIDE, SIDE)
    total = sum(put_back(sums[:, place], *pose) for place, pose in enumerate(poses()))
    return total / share.sum(dim=(0, 2)).clamp_min(1e-9)[:, None, None]


# %% [markdown] tags=["sharpen"]
# ### Exercise U18.6 · Run it
#
# Write `run_em(images, classes, generator)`: begin with means of some random images (`torch.randperm(len(images), generator=generator)`), make fifteen rounds, and return the class averages, each image's best class, and a list of the log-likelihood $\sum_i\ln\sum_{kg}\pi_k\,p(y_i|A_k,g)$ of every round (up to a constant). It must never fall, and 90 % of the images should be with their like. A single start often ends in a local maximum.


# %% tags=["sharpen"]
def run_em(images, classes, generator, *, rounds=15, starts=12):
    """Class averages, the class of each image, and the log-likelihood of every round."""
    # BEGIN SOLUTION
    best = None
    for _ in range(starts):
        few = [torch.randperm(len(images), generator=generator)[:6] for _ in range(classes)]
        pictures = torch.stack([images[rows].mean(dim=0) for rows in few])
        weights = torch.full((classes,), 1 / classes, dtype=images.dtype)
        course = []
        for _ in range(rounds):
            scores = log_likelihoods(images, pictures)
            course.append(float(torch.logsumexp((scores + weights.log()[None, :, None]).flatten(1), dim=1).sum()))
            share, weights = responsibilities(scores, weights)
            pictures = averages(images, share)
        if best is None or course[-1] > best[2][-1]:
            best = pictures, share.sum(dim=2).argmax(dim=1), course
    return best
    # END SOLUTION


check("U18.6", run_em)

# %% tags=["sharpen"]
prediction("U18.opening")
classes, label, course = run_em(data.images, 3, torch.Generator().manual_seed(2))
figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), width_ratios=(1.6, 1, 1, 1))
axes[0].plot(course, "o-", ms=3)
axes[0].set(xlabel="round", ylabel="log-likelihood")
for each, picture, number in zip(axes[1:], classes, range(3), strict=True):
    each.imshow(picture, cmap="gray", origin="lower")
    each.set(xticks=[], yticks=[], title=f"{int((label == number).sum())} images")
plt.show()
print(f"{100 * purity(label, data.label):.0f} % of the images are with their like")
assert min(np.diff(course)) > -1e-6 * abs(course[-1])

# %% [markdown] tags=["sharpen"]
# *Figure U18.c. The likelihood rises in every round, (a): EM raises a lower bound that touches it, so that it cannot fall. That is no promise of the truth: it stops at the next maximum, and there are many.*
#
# **Collapse, and its cures.** Two views that share a class, one view divided over two, a class that attracts everything because it was sharp first: all of them are local maxima, and all happen at low SNR. Cures that are in use: several starts and the best likelihood (here); begin at low resolution and let it grow; begin with averages of images that look alike whatever way they are turned (`neighbour_averages`, below); a prior on each class's spectrum, so that small classes cannot win by fitting noise; refill empty classes from full ones; and more classes than views.

# %% [markdown] tags=["blur"]
# ## Watch the rounds
#
# One start of the same 300 images, round by round, and below the responsibilities of the first 60 images: how much of each is in which class.

# %% tags=["blur"]
source = torch.Generator().manual_seed(3)
pictures = torch.stack([data.images[torch.randperm(300, generator=source)[:6]].mean(dim=0) for _ in range(3)])
weights = torch.full((3,), 1 / 3, dtype=torch.float64)
gallery = []
for _ in range(16):
    scores = log_likelihoods(data.images, pictures) + weights.log()[None, :, None]
    share = torch.softmax(scores.flatten(1), dim=1).reshape(scores.shape)
    gallery.append((pictures, share.sum(dim=2), float(torch.logsumexp(scores.flatten(1), dim=1).sum())))
    weights = share.sum(dim=(0, 2)) / 300
    sums = (share.reshape(300, -1).T @ data.images.reshape(300, -1)).reshape(3, -1, SIDE, SIDE)
    back = [torch.rot90(sums[:, g].roll((-s[0], -s[1]), dims=(-2, -1)), -t, dims=(-2, -1)) for g, (t, s) in enumerate(poses())]
    pictures = sum(back) / share.sum(dim=(0, 2))[:, None, None]


def draw_round(number):
    """The classes of a round, and the responsibilities that follow from them."""
    shown, part, likelihood = gallery[int(number)]
    figure = plt.figure(figsize=(10.5, 4.4))
    grid = figure.add_gridspec(2, 4, height_ratios=(2.2, 1))
    for place in range(3):
        axes = figure.add_subplot(grid[0, place])
        axes.imshow(shown[place], cmap="gray", origin="lower")
        axes.set(xticks=[], yticks=[], title=f"class {place + 1}: {float(part[:, place].sum()):.0f} images")
    axes = figure.add_subplot(grid[0, 3])
    axes.plot([one[2] for one in gallery], "-", color="0.7")
    axes.plot(int(number), likelihood, "o")
    axes.set(xlabel="round", title="log-likelihood", yticks=[])
    axes = figure.add_subplot(grid[1, :])
    axes.imshow(part[:60].T, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    axes.set(xlabel="image", yticks=[0, 1, 2], yticklabels=[1, 2, 3], ylabel="class")
    figure.tight_layout()
    return figure


stepper = exploration(draw_round, number=Slider(0, 15, 1, label="round"))
stepper

# %% [markdown] tags=["blur"]
# *Figure U18.d. Round 0 is noise. Within a few rounds classes become pictures, and responsibilities (bright: all of the image) become nearly certain. Step through it.*
#
# ### Exercise U18.1 · What changes, what does not?
#
# Write `"constant"` or `"updated"` for each, as it is from one round to the next.

# %% tags=["blur"]
board = {
    "images": ...,
    "CTF of each image": ...,
    "grid of rotations and shifts": ...,
    "number of classes": ...,
    "responsibilities": ...,
    "class averages": ...,
    "class weights": ...,
    "noise variance": ...,
}
# BEGIN SOLUTION
board = dict.fromkeys(("images", "CTF of each image", "grid of rotations and shifts", "number of classes"), "constant")
board |= dict.fromkeys(("responsibilities", "class averages", "class weights", "noise variance"), "updated")
# END SOLUTION
check("U18.1", board)

# %% [markdown] tags=["sharpen"]
# <a id="Q-M10-2"></a>
# ## The same in Fourier space: *why does it work, and what has to be changed?*
#
# It works because the transform is a rotation of the coordinates (orthonormal): distances stay. With $Y$, $F$ the transforms of image and model,
# $$ \sum_x |y - a|^2 = \sum_{k} |Y - F|^2 . $$
# Of a real image's coefficients only half are independent, since $Y(-k) = \overline{Y(k)}$. A half spectrum (`fourier.to_fourier`) keeps the columns $k_x = 0 \dots \lfloor n/2\rfloor$: all columns whose mates are left out stand for two.
#
# ### Exercise U18.3 · The same number
#
# Write `fourier_log_likelihood(image, model, side, sigma)`: $-\sum_x (y-a)^2/2\sigma^2 - \frac{n^2}{2}\ln 2\pi\sigma^2$ from the half spectra of a square image and its model. Odd and even sides!


# %% tags=["sharpen"]
def fourier_log_likelihood(image, model, side, sigma):
    """log p(image | model) in white noise of this standard deviation, from half spectra."""
    # BEGIN SOLUTION
    counted = torch.full((image.shape[-1],), 2.0, dtype=torch.float64)
    counted[0] = 1.0
    if side % 2 == 0:
        counted[-1] = 1.0
    misfit = float((counted * (image - model).abs().square()).sum())
    return -misfit / (2 * sigma**2) - side**2 / 2 * math.log(2 * math.pi * sigma**2)
    # END SOLUTION


check("U18.3", fourier_log_likelihood)

# %% [markdown] tags=["sharpen"]
# **What changes, then, and for the better.**
#
# - *Noise* need not be white: a variance $\sigma^2(|k|)$ for each shell takes the place of one number (U17: coloured noise is independent here, and nowhere else). Updated in every round from what is left over.
# - *Shifts* become phase ramps $e^{-2\pi i k\cdot s}$; they may be fractions of a pixel.
# - *The CTF* becomes a factor. The model of image $i$ is $c_i(k)\,A(k)$.
# - *Resolution* becomes a choice: compare the coefficients below a radius, and leave the noise beyond.
#
# ### Exercise U18.4 · With CTF
#
# Write `ctf_round(spectra, transfer, classes, sigma)`: one round for images that are in place already, `spectra[n, h, half]`, with their CTFs `transfer` (same shape), from the spectra of the present classes `[K, h, half]`, equally weighted. Return the responsibilities `[n, K]` and the new spectra. $\sigma$ is the noise's standard deviation *of a pixel*; the side is odd (33). Derive the M-step: which $A$ minimises $\sum_i\gamma_i|Y_i - c_iA|^2$ at each frequency?


# %% tags=["sharpen"]
def ctf_round(spectra, transfer, classes, sigma):
    """Responsibilities, and the spectra of the new classes."""
    # BEGIN SOLUTION
    counted = torch.full((spectra.shape[-1],), 2.0, dtype=torch.float64)
    counted[0] = 1.0
    misfit = (counted * (spectra[:, None] - transfer[:, None] * classes).abs().square()).sum(dim=(2, 3))
    share = torch.softmax(-misfit / (2 * sigma**2), dim=1)
    above = torch.einsum("nk,nhw->khw", share.to(spectra.dtype), transfer * spectra)
    below = torch.einsum("nk,nhw->khw", share, transfer.square())
    return share, above / (below + 0.01)
    # END SOLUTION


check("U18.4", ctf_round)

# %% tags=["sharpen"]
pair = defocus_pair(4)
begin = fourier.to_fourier(pair.pictures + 0.1)
mine = pair.label == 0
results = {
    "the view": pair.pictures[0],
    "mean, no CTF": fourier.to_real(pair.spectra[mine].mean(dim=0), width=SIDE),
    "2.0 μm alone": fourier.to_real(
        ctf_round(pair.spectra[pair.defocus == 0], pair.transfer[pair.defocus == 0], begin, 1.0)[1][0], width=SIDE
    ),
    "3.2 μm alone": fourier.to_real(
        ctf_round(pair.spectra[pair.defocus == 1], pair.transfer[pair.defocus == 1], begin, 1.0)[1][0], width=SIDE
    ),
    "both": fourier.to_real(ctf_round(pair.spectra, pair.transfer, begin, 1.0)[1][0], width=SIDE),
}
show(list(results.values()), list(results), columns=5, size=2.2)
plt.show()
figure, axes = plt.subplots(figsize=(6.5, 3.2))
for name, picture in list(results.items())[1:]:
    axes.plot(range(1, 16), fourier.shell_correlation(picture, pair.pictures[0])[1:16], label=name)
axes.set(xlabel="ring", ylabel="correlation with the view", ylim=(-0.6, 1.05))
axes.legend(fontsize=8)
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U18.e. A plain mean has rings where the CTF turned contrast over. Weighted by the CTF, one defocus leaves holes at its zeros; two fill each other's. This is why data are collected over a range of defocus.*
#
# $A = \sum\gamma cY/\sum\gamma c^2$ is a least-squares fit. With a prior of variance $\tau^2$ on each shell of $A$, $1/\tau^2$ joins the denominator (in units of $1/\sigma^2$): the Wiener filter of U23, and what keeps small classes honest.

# %% [markdown] tags=["blur"]
# ## Particle rejection
#
# Not every image shows a particle. Here is a set of your own, a third of it junk: half of that empty, half with a bright spot at the border. If the classes are known, what does an image say about itself? Its **gain**: the logarithm of how much better the classes explain it, over all poses, than noise alone.

# %% tags=["blur"]
own = junk_scene(parameters("U18.7")["images"])
gain = gains(own.images, own.views)
is_particle = own.label >= 0
levels = np.linspace(float(gain.min()), float(gain.max()), 200)
both = np.array([kept_and_rejected(gain, own.label, level) for level in levels])


def draw_threshold(threshold):
    """The gains of particles and junk, and what the threshold keeps and rejects."""
    kept, rejected = kept_and_rejected(gain, own.label, threshold)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
    edges = np.linspace(levels[0], levels[-1], 40)
    left.hist(gain[is_particle], bins=edges, alpha=0.7, label="particles")
    left.hist(gain[~is_particle], bins=edges, alpha=0.7, label="junk")
    left.axvline(threshold, color="k", ls="--")
    left.set(xlabel="gain", ylabel="images")
    left.legend()
    right.plot(1 - both[:, 1], both[:, 0])
    right.plot(1 - rejected, kept, "ko")
    right.plot([0, 1], [0, 1], color="0.8")
    right.set(
        xlabel="part of the junk that is kept",
        ylabel="part of the particles that is kept",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    figure.suptitle(f"kept {100 * kept:.1f} % of the particles, rejected {100 * rejected:.0f} % of the junk")
    figure.tight_layout()
    return figure


rejector = exploration(
    draw_threshold, threshold=Slider(round(levels[0], 1), round(levels[-1], 1), 8.0, step=0.1, label="threshold")
)
rejector

# %% [markdown] tags=["blur"]
# *Figure U18.f. Left: gains, with the truth in colours that nobody has for real data. Right: every threshold is a point on one curve (the receiver operating characteristic). The area under it, 1 for a perfect figure and ½ for a useless one, tells how good the figure is, whatever threshold one takes.*
#
# ### Exercise U18.7 · Your threshold
#
# A threshold on the gain that keeps at least 95 % of your particles and rejects at least 80 % of the junk.

# %% tags=["blur"]
# BEGIN SOLUTION
my_threshold = float(gain[is_particle].quantile(0.03))
# END SOLUTION
check("U18.7", my_threshold)

# %% [markdown] tags=["solution", "blur"]
# Without the truth one takes the valley between the two hills: a mixture of two normal laws, fitted to the gains, does it (`judge_particles`).

# %% tags=["blur"]
ordered = gain[torch.argsort(gain)]
area = float((gain[is_particle][:, None] > gain[~is_particle][None]).double().mean())
print(f"area under the curve: {area:.3f}")
assert area > 0.9

# %% [markdown] tags=["blur"]
# A gain only sees what the classes know. A stain that looks a little like a particle, and is ten times as strong, has a fine gain. So one looks at *classes* too: does the class hold detail on which its two halves agree, does its density stay off the mask's edge, does it say how its images are turned?
#
# **In your own words.** A colleague keeps the three sharpest of fifty classes and rejects everything else. What may be lost, and how would you find out?

# %% tags=["blur"]
# BEGIN SOLUTION
my_text = (
    "Rare views make small, blurred classes. Rejecting them leaves gaps in the orientations, and a resolution that depends on direction. "
    "Classify what was rejected once more by itself, and keep what looks like a particle."
)
# END SOLUTION
explain("U18.words", my_text)

# %% [markdown] tags=["sharpen"]
# ## With the library
#
# The same images as particles, one call: all in-plane angles, shifts in fractions, noise by shell, a prior on each class's spectrum, a resolution that grows. Its first classes are averages of images that look alike whatever way they are turned: features that a rotation does not change (bispectra) are compared, so that nothing has to be searched. This alone nearly sorts the set.

# %% tags=["sharpen"]
stack = ParticleSet(
    optics=(Optics(pixel_size=PIXEL_SIZE),),
    optics_index=torch.zeros(300, dtype=torch.int64),
    images=ImageStack(pixels=data.images[:, :-1, :-1].float(), pixel_size=PIXEL_SIZE),
)
alike = neighbour_averages(stack, neighbours=20, diameter=150, resolution=24, count=8)
show(list(alike.images), columns=8)
plt.show()
settings = ClassificationSettings(classes=5, iterations=4, ctf="none", diameter=170, resolution_limit=20, angular_step_degrees=10)
found = classify(stack, settings, generator=torch.Generator().manual_seed(1))
ranking = rank_classes(found)
titles = [f"score {score:.2f}, {int(count)}" for score, count in zip(ranking.score, ranking.images, strict=True)]
show(list(found.model.images), titles, columns=5, size=2.2)
plt.show()
for one in found.history:
    print(f"iteration {one.number}: {one.resolution:.0f} Å, {100 * one.moved:.0f} % changed their class")
print(f"{100 * purity(found.particles.label, data.label):.0f} % of the images are with their like")
assert purity(found.particles.label, data.label) > 0.9
assert judge_particles(found).score.median() > 0.5

# %% [markdown] tags=["sharpen"]
# *Figure U18.g. Above: eight images, each averaged with the twenty that are most like it. Below: five classes (a few more than there are views), their scores and how many images they hold. On the command line it is `cryowalk class2d --i particles.star --o Class2D --classes 50 --iterations 25`, then a look at the report, then `cryowalk select`.*
#
# ## What you have seen
#
# - An image has a share in every class and pose; shares add up to one. Images, CTF and grid stay, averages, weights and noise follow.
# - The likelihood never falls, and stops at the next maximum. Starts, resolution and priors decide which.
# - Fourier space is the same space, turned: halves counted once, noise by shell, CTF as a factor, resolution as a radius.
# - Rejection needs a figure and a threshold. Every threshold costs particles: say how many, and look at which.
