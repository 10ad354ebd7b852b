# %% [markdown]
# # U16 Finding particles and making stacks
#
# **Question.** A micrograph is a grey field with grey spots in it. How does a program find the particles, how does one know how good it was, and how does it fool itself?
#
# **What you need.** U05 (correlation is convolution with a turned kernel), U08 (noise) and the blur part of U07.
#
# **What you will be able to do.**
#
# - find particles in three ways: as blobs, by a template, with a network, and say what each assumes;
# - measure precision, recall and F1 against the truth, one to one;
# - make a picture out of pure noise, predict how good it will look, and never be fooled by one again;
# - cut boxes, normalise and invert them, write a stack that RELION reads, and say how large a box must be.
#
# About 60 minutes. *Blur*: blobs with sliders, Einstein from noise, the box. *Sharpen*: normalised correlation, the law behind Einstein, a stack from scratch.

# %%
import math
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import cryowalk as cw
from cryowalk import fourier
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u16 import BOX, DIAMETER, PIXEL_SIZE, RADIUS, scene
from cryowalk.data import ImageStack, Micrograph, Optics, ParticleSet
from cryowalk.picking import ExtractionSettings, PickingSettings, consensus, extract_particles, find_particles, score_picks

torch.set_num_threads(1)


def correlate(image, kernel):
    """Σ image(x + u) kernel(u), u counted from the kernel's middle pixel, periodic."""
    side = image.shape[-1]
    spectrum = fourier.to_fourier(image) * fourier.to_fourier(fourier.resize(kernel, side)).conj()
    return side * fourier.to_real(spectrum, width=side)


# %% [markdown] tags=["blur"]
# <a id="H16"></a>
# ## From a field to a list
#
# Everything so far was about *micrographs*. From here on it is about *particles*: a list of places, then a stack of small images, each with what is known of it. The bookkeeping is worth a rule: **picked = kept + rejected**, at every step, with a reason for each rejection. A stack that has lost the link to its micrographs cannot be extracted again with a larger box, polished, or audited.
#
# <a id="H17"></a>
# ## Particle picking
#
# Here is a micrograph of your own. It shows 45 particles, dark, some 150 Å long, at 4 Å per pixel, and two faint lumps of dirt.

# %% tags=["blur"]
mine = scene(parameters("U16.1")["micrograph"])
figure, axes = plt.subplots(1, 2, figsize=(10.5, 5.2), width_ratios=(2, 1))
low, high = np.quantile(mine.image, [0.01, 0.99])
axes[0].imshow(mine.image, cmap="gray", vmin=low, vmax=high)
axes[0].set(xticks=[], yticks=[], title="your micrograph")
axes[1].imshow(mine.template, cmap="gray")
axes[1].set(xticks=[], yticks=[], title="the particle without noise (bright)")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U16.a. Your micrograph, and what lies in it 45 times, turned in the plane. How many can you see?*
#
# **Three ways to find them.**
#
# 1. *Blobs.* Blur with a Gaussian and take the Laplacian: it answers to anything dark of about the right size. It assumes a size, and nothing else. (Crowd of particles, dirt, ice crystals: all blobs.)
# 2. *Templates.* Correlate with a picture of the particle in all rotations. It assumes that you know what you look for. That is its strength, and its danger.
# 3. *Networks.* A function with many parameters, fitted to examples. It assumes that the new micrographs are like the ones it learned from.
#
# ### Precision and recall
#
# A pick is right if it lies within half a diameter of a particle, and each particle may be claimed only once: a second pick on the same particle is a false one. Then
# $$ \text{precision} = \frac{\text{matches}}{\text{picks}}, \qquad \text{recall} = \frac{\text{matches}}{\text{particles}}, \qquad F_1 = \frac{2\,\text{matches}}{\text{picks} + \text{particles}}. $$
#
# Before you touch the slider: lower the threshold from very high to very low. **What happens to $F_1$?** (a) it rises all the way; (b) it rises, then falls; (c) it falls all the way.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U16.opening", my_guess, options=("a", "b", "c"))


# %% tags=["blur"]
def blob_score(image, width):
    """Minus the Laplacian of the image blurred by a Gaussian (standard deviation in pixels), high where it is dark, in standard deviations."""
    side = image.shape[-1]
    k = 2 * math.pi * fourier.frequency_radius((side, side), pixel_size=1.0, dtype=image.dtype)
    spectrum = fourier.to_fourier(image - image.mean())
    score = fourier.to_real(-(k**2) * torch.exp(-((width * k) ** 2) / 2) * spectrum, width=side)
    return score / score.std()


def local_peaks(score, *, distance, least, border=17):
    """Rows (x, y) of the pixels that are the highest within a distance, the highest first, none near the border."""
    reach = round(distance)
    rows = torch.nn.functional.max_pool2d(score[None, None], (1, 2 * reach + 1), 1, (0, reach))
    highest = torch.nn.functional.max_pool2d(rows, (2 * reach + 1, 1), 1, (reach, 0))[0, 0]
    inside = torch.zeros_like(score, dtype=torch.bool)
    inside[border:-border, border:-border] = True
    y, x = torch.nonzero((score == highest) & inside & (score > least), as_tuple=True)
    order = score[y, x].argsort(descending=True)
    return torch.stack((x, y), dim=1)[order].double()


def draw_blobs(width, threshold):
    """The picks on the micrograph, right ones and wrong ones, and precision and recall over all thresholds."""
    score = blob_score(mine.image, width)
    every = local_peaks(score, distance=RADIUS, least=0.0)
    heights = score[every[:, 1].long(), every[:, 0].long()]
    picks = every[heights >= threshold]
    result = score_picks(picks, mine.positions, tolerance=RADIUS)
    near = torch.cdist(picks, mine.positions).min(dim=1).values <= RADIUS if len(picks) else torch.zeros(0, dtype=torch.bool)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), width_ratios=(1.25, 1))
    left.imshow(mine.image, cmap="gray", vmin=low, vmax=high)
    left.scatter(*mine.positions.T, s=420, facecolors="none", edgecolors="0.85", linewidths=0.7)
    left.scatter(*picks[near].T, s=30, color="C2")
    left.scatter(*picks[~near].T, s=40, color="C3", marker="x")
    left.set(xticks=[], yticks=[], title=f"precision {result.precision:.2f}, recall {result.recall:.2f}, F1 {result.f1:.2f}")
    curve = [score_picks(every[heights >= t], mine.positions, tolerance=RADIUS) for t in np.linspace(0.2, 4.5, 40)]
    right.plot(np.linspace(0.2, 4.5, 40), [one.precision for one in curve], label="precision")
    right.plot(np.linspace(0.2, 4.5, 40), [one.recall for one in curve], label="recall")
    right.plot(np.linspace(0.2, 4.5, 40), [one.f1 for one in curve], "k", label="F1")
    right.axvline(threshold, color="C3", ls=":")
    right.set(xlabel="threshold (standard deviations)", ylim=(0, 1.03))
    right.legend(loc="lower left")
    return figure


blob_picker = exploration(
    draw_blobs,
    width=Slider(1.0, 25.0, 4.0, step=0.5, label="width of the Gaussian (pixels)"),
    threshold=Slider(0.2, 4.5, 3.0, step=0.1, label="threshold"),
)
blob_picker

# %% [markdown] tags=["blur"]
# *Figure U16.b. Blobs of a size of your choice, above a threshold of your choice. Circles: the truth. Green: right. Red: wrong. On the right what other thresholds would give. (b) is what happens: a high threshold loses particles, a low one admits noise, and $F_1$ has its best in between.*
#
# ### Exercise U16.1 · Tune it
#
# Find a width (pixels) and a threshold with $F_1 \ge 0.85$ on your micrograph.

# %% tags=["blur"]
# BEGIN SOLUTION
tried = []
for width in (7.0, 9.0, 10.0, 12.0):
    score = blob_score(mine.image, width)
    every = local_peaks(score, distance=0.95 * RADIUS, least=1.0)
    heights = score[every[:, 1].long(), every[:, 0].long()]
    for threshold in np.arange(1.0, 3.5, 0.1):
        result = score_picks(every[heights >= threshold], mine.positions, tolerance=RADIUS)
        tried.append((result.f1, width, float(threshold)))
answer = max(tried)[1:]
# END SOLUTION
check("U16.1", answer)

# %% [markdown] tags=["solution", "blur"]
# A width of 7 to 12 pixels and a threshold near 2 do it: a Laplacian of a Gaussian of width $\sigma$ answers best to disks of radius $\sqrt2\,\sigma$, here 10 to 17 pixels. Nobody hands you the truth on a real micrograph: there one looks at the picks, and at the distribution of their heights.

# %% [markdown] tags=["sharpen"]
# ## Templates: correlation, normalised
#
# A plain correlation $\sum_u t(u) f(x+u)$ is largest where the micrograph is *strong*, whatever its shape: at dirt. The normalised one asks for shape alone. Within a mask $m$ about each place, with the template of mean zero and norm one there,
# $$ c(x) = \frac{\sum_u t(u)\, f(x+u)}{\sqrt{\sum_u m}\;\sigma_f(x)}, \qquad \sigma_f^2(x) = \frac{m \star f^2}{\sum m} - \left(\frac{m\star f}{\sum m}\right)^2, $$
# a correlation coefficient between −1 and 1. Everything in it is a correlation with a fixed kernel (`correlate`, above), so everything is a Fourier transform: two for the mask, shared by all templates and rotations, and two for each rotation of each template (Roseman, 2003).


# %% tags=["sharpen"]
def turned(picture, angle):
    """The picture turned by an angle (rad) about its middle."""
    half = (picture.shape[-1] - 1) / 2
    line = torch.arange(picture.shape[-1], dtype=picture.dtype) - half
    y, x = line[:, None], line
    grid = torch.stack((math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x), dim=-1) / half
    return torch.nn.functional.grid_sample(picture[None, None], grid[None], align_corners=True)[0, 0]


line = torch.arange(51, dtype=torch.float64) - 25
mask = (torch.hypot(line, line[:, None]) <= 25).double()


def normalised_correlation(image, template, *, angles=36):
    """The best correlation coefficient over all rotations of the template, at each pixel."""
    count = mask.sum()
    mean = correlate(image, mask) / count
    deviation = (correlate(image**2, mask) / count - mean**2).clamp_min(1e-12).sqrt()
    best = torch.full_like(image, -1.0)
    for angle in np.linspace(0, 2 * math.pi, angles, endpoint=False):
        view = turned(template, angle)
        view = (view - (view * mask).sum() / count) * mask
        best = torch.maximum(best, correlate(image, view / view.norm()) / (deviation * count.sqrt()))
    return best


likeness = normalised_correlation(mine.image.mean() - mine.image, mine.template)
figure, axes = plt.subplots(1, 3, figsize=(13, 4.3))
axes[0].imshow(mine.image, cmap="gray", vmin=low, vmax=high)
axes[1].imshow(blob_score(mine.image, 9.0), cmap="magma", vmin=-1, vmax=4)
axes[2].imshow(likeness, cmap="magma")
for each, title in zip(axes, ("micrograph", "blob score", "normalised correlation"), strict=True):
    each.set(xticks=[], yticks=[], title=title)
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U16.c. The blob score answers to anything dark of about the right size; the normalised correlation asks for the shape, however faint.*
#
# ### Exercise U16.2 · A template picker
#
# Write `pick(image, template)`: places (x, y) in pixels of the particles in a micrograph like yours (512 × 512, particles dark), given the view of the particle (bright). It is tried on other micrographs, with a signal a little better than yours, and should reach $F_1\ge0.9$ there. No tuning per micrograph!


# %% tags=["sharpen"]
def pick(image, template):
    """Places (x, y) of the particles, an array of n rows."""
    # BEGIN SOLUTION
    score = normalised_correlation(image.mean() - image, template, angles=24)
    found = local_peaks(score, distance=0.75 * 2 * RADIUS / 1.5, least=0.0)
    heights = score[found[:, 1].long(), found[:, 0].long()].numpy()
    # Noise peaks and particles are two groups of heights: part them where the variance between the groups is largest (Otsu).
    ordered = np.sort(heights)
    number = np.arange(1, len(ordered))
    below, above = np.cumsum(ordered)[:-1] / number, np.cumsum(ordered[::-1])[-2::-1] / (len(ordered) - number)
    split = np.argmax(number * (len(ordered) - number) * (above - below) ** 2)
    return found.numpy()[heights >= (ordered[split] + ordered[split + 1]) / 2]
    # END SOLUTION


check("U16.2", pick)

# %% [markdown] tags=["sharpen"]
# With the library it is one call. It makes the micrograph coarse first (a picker needs no detail finer than a tenth of the particle), takes away the local mean, and finds its own threshold. Without a template it averages one from its own blobs. `consensus` keeps what several pickers agree on.

# %% tags=["sharpen"]
micrograph = Micrograph(pixels=mine.image.float(), pixel_size=PIXEL_SIZE)
views = ImageStack(pixels=mine.template[None, :-1, :-1].float(), pixel_size=PIXEL_SIZE)
by_blobs = find_particles(micrograph, PickingSettings(diameter=DIAMETER))
by_template = find_particles(micrograph, PickingSettings(diameter=DIAMETER, method="template"), templates=views)
agreed = consensus([by_blobs, by_template], distance=RADIUS)
for name, found in (("blobs", by_blobs), ("template", by_template), ("both", agreed)):
    result = score_picks(found.positions, mine.positions, tolerance=RADIUS)
    print(f"{name:9s} {result.picks:3d} picks, precision {result.precision:.2f}, recall {result.recall:.2f}, F1 {result.f1:.2f}")
assert score_picks(by_template.positions, mine.positions, tolerance=RADIUS).f1 > 0.6

# %% [markdown] tags=["blur"]
# ## Einstein from noise
#
# Take a micrograph without a single particle: noise, and nothing else. Search it with a template, keep the 1,000 best places, cut them out, turn each as the search said, and average them.
#
# ### Exercise U16.3 · What appears?
#
# `"grey"`: a flat grey, since noise averages out. `"disk"`: a round blob. `"template"`: the template.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_picture = "template"
# END SOLUTION
predict("U16.3", my_picture, options=("grey", "disk", "template"))

# %% tags=["blur"]
my_picture = prediction("U16.3")
face_line = torch.linspace(-1, 1, 33, dtype=torch.float64)
face_y, face_x = face_line[:, None], face_line


def dot(x, y, size):
    """A soft dot."""
    return torch.exp(-((face_x - x) ** 2 + (face_y - y) ** 2) / (2 * size**2))


ring = torch.exp(-((torch.hypot(face_x, face_y) - 0.8) ** 2) / (2 * 0.08**2))
mouth = torch.exp(-((torch.hypot(face_x, face_y + 0.1) - 0.55) ** 2) / (2 * 0.07**2)) * (face_y > 0.1)
face = ring + 1.2 * dot(-0.3, -0.3, 0.11) + 1.2 * dot(0.3, -0.3, 0.11) + mouth + 0.8 * dot(0.0, 0.0, 0.08)
face = (face - face.mean()) / (face - face.mean()).norm()


def windows_at(image, places, size=33):
    """Windows about places, each of mean 0 and norm 1."""
    half = size // 2
    cut = torch.stack([image[int(y) - half : int(y) + half + 1, int(x) - half : int(x) + half + 1] for x, y in places])
    cut = cut - cut.mean(dim=(1, 2), keepdim=True)
    return cut / cut.flatten(1).norm(dim=1)[:, None, None]


pure_noise = torch.randn(1536, 1536, generator=torch.Generator().manual_seed(16), dtype=torch.float64)
found_faces = local_peaks(correlate(pure_noise, face), distance=10, least=0.0)[:1000]
source = torch.Generator().manual_seed(17)
random_places = torch.randint(20, 1500, (1000, 2), generator=source)


def draw_einstein(count, places):
    """The average of so many windows from noise, and the template they were searched with."""
    chosen = windows_at(pure_noise, (found_faces if places == "the best" else random_places)[: int(count)])
    mean = chosen.mean(dim=0)
    cc = float((mean * face).sum() / mean.norm())
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2))
    for each, picture, title in zip(
        axes,
        (face, chosen[0], chosen[min(1, len(chosen) - 1)], mean),
        ("searched for", "the first window", "another", f"average of {int(count)}: cc {cc:.2f}"),
        strict=True,
    ):
        each.imshow(picture, cmap="gray")
        each.set(xticks=[], yticks=[], title=title)
    return figure


einstein = exploration(
    draw_einstein,
    count=Slider(1, 1000, 1000, step=1, label="windows averaged"),
    places=Choice(("the best", "at random"), label="places"),
)
einstein

# %% tags=["blur"]
chosen = windows_at(pure_noise, found_faces)
heights = (chosen * face).sum(dim=(1, 2))
seen = chosen.mean(dim=0)
measured_cc = float((seen * face).sum() / seen.norm())
print(f"mean height of the peaks {heights.mean():.3f}; correlation of the average with the template {measured_cc:.3f}")
assert measured_cc > 0.7
check("U16.3", my_picture)

# %% [markdown] tags=["blur"]
# *Figure U16.d. A face out of 1,000 windows of pure noise (Shatsky et al., 2009, did it with Einstein's; Henderson, 2013, explains what it did to a published map). No single window shows it. Choose places at random, and it is gone.*
#
# **Nothing was wrong in this calculation**: each window does resemble the template a little, by chance, and it was taken *because* it does. So it is with particles: picks from ice without particles, aligned to a reference, average to the reference. What protects: a template filtered to 20 Å or coarser (what appears beyond that was not put in), picking as blobs or by a network first, templates from your own 2D classes rather than a published map, a look at class averages for views that the template did not have, and a control on a micrograph without particles, as here.

# %% [markdown] tags=["blur"]
# **In your own words.** A colleague shows a 2D average that looks exactly like the published map from which the templates were made. Why is this no evidence, and what would be?

# %% tags=["blur"]
# BEGIN SOLUTION
my_text = (
    "Windows were selected by their likeness to the template, so that even pure noise averages to it. "
    "Evidence is detail beyond the resolution to which the template was filtered."
)
# END SOLUTION
explain("U16.words", my_text)

# %% [markdown] tags=["sharpen"]
# ## The law behind it
#
# ### Exercise U16.4 · How good will the face be?
#
# Scale each window to norm 1. Its correlation with the template (norm 1, too) is its peak height; let $m$ be their mean. Write `noise_correlation(m, count)`: the correlation between the *average* of `count` windows and the template.


# %% tags=["sharpen"]
def noise_correlation(height, count):
    """The expected correlation of the average with the template."""
    # BEGIN SOLUTION
    return height / math.sqrt(height**2 + (1 - height**2) / count)
    # END SOLUTION


check("U16.4", noise_correlation)

# %% tags=["sharpen"]
counts = [1, 3, 10, 30, 100, 300, 1000]
seen_cc = []
for count in counts:
    mean = chosen[:count].mean(dim=0)
    seen_cc.append(float((mean * face).sum() / mean.norm()))
law = [noise_correlation(float(heights[:count].mean()), count) for count in counts]
figure, axes = plt.subplots(figsize=(6.5, 3.6))
axes.semilogx(counts, seen_cc, "o", label="measured")
axes.semilogx(counts, law, "-", label="your law")
axes.set(xlabel="windows averaged", ylabel="correlation with the template", ylim=(0, 1.03))
axes.legend()
plt.show()
assert abs(law[-1] - measured_cc) < 0.05

# %% [markdown] tags=["sharpen"]
# *Figure U16.e. The correlation of an average of noise with what it was searched for.* It depends on $m\sqrt M$ alone once $m$ is small: peaks of height 0.13 and a hundred windows are enough for a good likeness. A window of $N$ pixels has peaks near $4/\sqrt N$ by chance, so that with $M$ of them the likeness is convincing as soon as $M > N/16$.
#
# (Why not $m/\sqrt{m^2 + 1/M}$? For small $m$ it is the same: $1 - m^2$ is nearly one.)

# %% [markdown] tags=["blur"]
# <a id="H35"></a>
# ## Making a stack
#
# <a id="Q-M06-8"></a>
# ### How large a box? *Where does the information go?*
#
# Not just as large as the particle. U07 showed that defocus throws each frequency sideways by $R(k) = |\lambda\Delta f k - C_s\lambda^3k^3|$, to both sides. A box that is too small cuts the finest detail off, and no CTF correction brings it back.


# %% tags=["blur"]
def thrown(defocus, resolution, *, cs=2.7e7):
    """How far detail of this resolution (Å) is thrown at a defocus (Å) at 300 kV, Å."""
    wavelength = Optics(pixel_size=1.0, voltage_kv=300.0).wavelength
    return np.abs(wavelength * defocus / resolution - cs * (wavelength / resolution) ** 3)


def draw_box(diameter, underfocus_um, target):
    """What a box must hold, drawn to scale."""
    reach = float(thrown(1e4 * underfocus_um, target))
    box = diameter + 2 * reach
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4))
    left.add_patch(plt.Circle((0, 0), diameter / 2, color="0.6"))
    left.add_patch(plt.Circle((0, 0), diameter / 2 + reach, fill=False, color="C0", ls="--"))
    left.add_patch(plt.Rectangle((-box / 2, -box / 2), box, box, fill=False, color="C3"))
    left.set(xlim=(-500, 500), ylim=(-500, 500), aspect="equal", xlabel="Å")
    left.set_title("grey: particle; dashed: its finest detail; red: the box")
    resolutions = np.linspace(2.0, 12.0, 200)
    right.plot(resolutions, diameter + 2 * thrown(1e4 * underfocus_um, resolutions))
    right.axvline(target, color="C3", ls=":")
    right.set(xlabel="resolution hoped for (Å)", ylabel="box (Å)", ylim=(0, None), title="what the resolution costs")
    return figure


advisor = exploration(
    draw_box,
    diameter=Slider(50.0, 400.0, 120.0, step=5.0, label="particle diameter (Å)"),
    underfocus_um=Slider(0.2, 4.0, 1.0, step=0.1, label="underfocus (µm)"),
    target=Slider(2.0, 12.0, 4.0, step=0.1, label="resolution hoped for (Å)"),
)
advisor

# %% [markdown] tags=["blur"]
# *Figure U16.f. Diameter plus twice the displacement. In practice 1.5 to 2 times the diameter, made even and quick to transform; check it against this rule where the defocus is high.*
#
# ### Exercise U16.6 · Your box
#
# A particle of 150 Å, 2 µm underfocus, 300 kV, $C_s$ = 2.7 mm, and you hope for 3 Å. How large a box, in Å? (To the nearest few Å.)

# %% tags=["blur"]
# BEGIN SOLUTION
my_box = 150.0 + 2 * thrown(2e4, 3.0)
# END SOLUTION
check("U16.6", my_box)

# %% [markdown] tags=["solution", "blur"]
# $R = 123.6$ Å, so the box is $150 + 2\times123.6 = 397$ Å: 2.6 times the particle.

# %% [markdown] tags=["sharpen"]
# ### Exercise U16.5 · A stack from scratch
#
# Write `make_stack(image, positions, box, folder)`: cut boxes of `box` pixels about the places (x, y), rounded to whole pixels, the place on pixel `box // 2` of the box; leave out boxes that are not wholly inside; give each a background (outside a circle of 0.75 of the box) of mean 0 and standard deviation 1; make the protein bright; and write stack and STAR file into the folder with `cryowalk.write`. Return the path of the STAR file. The pixel size is 4 Å.


# %% tags=["sharpen"]
def make_stack(image, positions, box, folder):
    """The path of a STAR file beside its stack."""
    # BEGIN SOLUTION
    half = box // 2
    places = positions.round().long()
    size = torch.tensor([image.shape[1], image.shape[0]])
    places = places[((places >= half) & (places + half <= size)).all(dim=1)]
    boxes = torch.stack([-image[y - half : y + half, x - half : x + half] for x, y in places.tolist()])
    axis = torch.arange(box) - half
    background = torch.hypot(axis.double(), axis[:, None].double()) > 0.75 * half
    boxes = boxes - boxes[:, background].mean(dim=1)[:, None, None]
    boxes = boxes / boxes[:, background].std(dim=1)[:, None, None]
    particles = ParticleSet(
        optics=(Optics(pixel_size=PIXEL_SIZE),),
        optics_index=torch.zeros(len(boxes), dtype=torch.int64),
        images=ImageStack(pixels=boxes.float(), pixel_size=PIXEL_SIZE),
        micrograph_names=("micrograph.mrc",) * len(boxes),
        coordinates=places.double(),
    )
    path = folder / "particles.star"
    cw.write(particles, path)
    return path
    # END SOLUTION


check("U16.5", make_stack)

# %% [markdown] tags=["sharpen"]
# The library's `extract_particles` does the same, scales boxes, takes off a sloping background, and keeps what a refinement knows of a particle. Picked = kept + rejected: it counts what it left out.

# %% tags=["sharpen"]
places = by_template.positions
picked = ParticleSet(
    optics=(Optics(pixel_size=PIXEL_SIZE),),
    optics_index=torch.zeros(len(places), dtype=torch.int64),
    micrograph_names=("micrograph.mrc",) * len(places),
    coordinates=places,
)
extraction = extract_particles(micrograph, picked, ExtractionSettings(box=BOX))
stack = extraction.particles.images.read(range(len(extraction.particles)))
print(f"{len(places)} picked, {len(extraction.particles)} kept")
with tempfile.TemporaryDirectory() as folder:
    cw.write(extraction.particles, Path(folder) / "particles.star")
    again = cw.read(Path(folder) / "particles.star")
    assert torch.equal(again.images.read(range(len(again))), stack)
figure, axes = plt.subplots(2, 6, figsize=(11, 3.9))
for each, picture in zip(axes.flat, stack, strict=False):
    each.imshow(picture, cmap="gray", vmin=-3, vmax=4)
for each in axes.flat:
    each.set(xticks=[], yticks=[])
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U16.g. The first particles of your stack: bright, upright in no particular way, each with its place in the STAR file. Finding out how each is turned is what U17 to U22 are about.*
#
# ## What you have seen
#
# - A picker turns a micrograph into a list. Precision and recall need a truth, or eyes.
# - A normalised correlation asks for shape; what it asks for it also finds where there is nothing.
# - The average of $M$ noise windows resembles the template by $m/\sqrt{m^2 + (1-m^2)/M}$.
# - A box holds the particle and twice the displacement of its finest detail. Normalise by the background, keep one sign, keep the books.
