# %% [markdown]
# # U22 Pose estimation and iterative refinement
#
# **Question.** To make a map you need the poses; to find the poses you need the map. How does one get out of this circle, and how does one know that one has not been running in it?
#
# **What you need.** U17 (posteriors, EM), U19 (rotations) and U21 (slices).
#
# **What you will be able to do.**
#
# - score an image against all orientations of a map, see the landscape, and say what an angular error costs;
# - search on a grid, refine locally, and average where one cannot decide (*sharpen*);
# - say what no image can tell: the hand;
# - refine two halves that never meet, and show what happens when they do.
#
# About 90 minutes.

# %%
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier, inference
from cryowalk.course import Choice, Slider, check, explain, exploration, predict, prediction
from cryowalk.course.checks.u22 import (
    BOX,
    VOXEL_SIZE,
    best_orientations,
    grid,
    images_of,
    low_passed,
    noise_alone,
    project,
    reconstruct,
    toy,
)
from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose
from cryowalk.geometry import geodesic_distance, matrix_from_rotation_vector, view_direction

torch.set_num_threads(1)
truth = toy()
images, orientations = images_of(200, snr=0.1, seed=7)
clean = project(truth, orientations)

# %% [markdown] tags=["blur"]
# <a id="H19"></a>
# ## Two unknowns in one equation
#
# An image is $x_i = P_{R_i} V + n_i$: a projection $P$ of the map $V$ in a pose $R_i$, plus noise. If the poses are known, this is *linear* in $V$: a set of linear equations, well posed where enough views fill Fourier space (U21). If they are not, it is neither linear nor convex: it has wrong answers that look good from everywhere nearby. Everything in this unit is about living with that.
#
# The toy: a lump of 40 blobs in a box of 33³ voxels of 3 Å, and 200 images at a signal-to-noise ratio of 0.1.

# %% tags=["blur"]
figure, axes = plt.subplots(2, 6, figsize=(11, 3.9), layout="constrained")
for column in range(6):
    axes[0, column].imshow(clean[column], cmap="gray")
    axes[1, column].imshow(images[column], cmap="gray")
for each in axes.flat:
    each.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("clean")
axes[1, 0].set_ylabel("as recorded")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U22.a. Six images of the toy, without and with noise.*
#
# ### Exercise U22.1 · What does one degree cost?
#
# A particle of 150 Å diameter is turned wrongly by 1°. How far, in Å, is density at its edge (75 Å from the middle) moved? Guess to within 2 %.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_movement = 75 * math.radians(1)
# END SOLUTION
predict("U22.1", my_movement)

# %% tags=["blur"]
my_movement = prediction("U22.1")
check("U22.1", my_movement)

# %% [markdown] tags=["solution", "blur"]
# An arc: $75\cdot\pi/180 = 1.31$ Å. A map at 2.6 Å bears a movement of about half a wave. So the poses of a particle this large must be right to about a degree, and of a ribosome to half of that. What lies far from the axis is blurred most: detail at the edge is lost first.

# %% [markdown] tags=["blur"]
# <a id="H20"></a>
# ## The landscape
#
# Take one image. Compare it with projections of the map in all directions, each turned in the plane in all ways, and keep for each *direction* the best in-plane turn. The result is a landscape on a sphere.

# %% tags=["blur"]
projections = project(truth, grid()).flatten(1)
projections = projections / projections.norm(dim=1, keepdim=True)
turns = len(grid()) // 192  # 192 directions of view, 24 turns in the plane of each
views = view_direction(grid()).reshape(192, turns, 3)[:, 0]
generator = torch.Generator().manual_seed(5)
unit_noise = torch.randn(BOX, BOX, generator=generator)


def draw_landscape(number, log_ratio):
    """The best score at each direction of view for one image, at a signal-to-noise ratio."""
    noise = (clean[number].var() / 10**log_ratio).sqrt()
    image = clean[number] + noise * unit_noise
    score = (image.flatten() @ projections.T).double()
    score = ((score - score.mean()) / score.std()).reshape(192, turns).amax(dim=1)
    longitude, latitude = torch.atan2(views[:, 1], views[:, 0]), torch.asin(views[:, 2].clamp(-1, 1))
    figure = plt.figure(figsize=(11, 3.9), layout="constrained")
    left = figure.add_subplot(1, 3, 1)
    left.imshow(image, cmap="gray")
    left.set(xticks=[], yticks=[], title=f"signal-to-noise ratio {10**log_ratio:.2g}")
    sphere = figure.add_subplot(1, 3, (2, 3), projection="mollweide")
    drawn = sphere.scatter(longitude, latitude, c=score, s=150, cmap="magma")
    right = view_direction(orientations[number : number + 1])[0]
    sphere.plot(math.atan2(right[1], right[0]), math.asin(right[2]), "o", ms=19, mfc="none", mec="C2", mew=2)
    sphere.set(xticklabels=[], yticklabels=[])
    figure.colorbar(drawn, ax=sphere, label="score (standard deviations)")
    return figure


landscape = exploration(
    draw_landscape,
    number=Slider(0, 20, 3, step=1, label="image"),
    log_ratio=Slider(-2.5, 1.0, -1.0, step=0.25, label="log₁₀ of the signal-to-noise ratio"),
)
landscape

# %% [markdown] tags=["blur"]
# *Figure U22.b. The score sphere. Each dot is a direction of view with its best in-plane turn; the ring is the truth. With little noise there is one narrow peak, on a plain with hills. As noise grows, the hills of chance reach the peak's height, and the highest point is somewhere else.*
#
# That is all there is to alignment at low signal to noise: the peak must rise above the highest of several thousand hills of chance. A larger particle, a finer map, or fewer directions to look at (a prior) help; a cleverer score does not help much.

# %% [markdown] tags=["sharpen"]
# ## Search on a grid
#
# ### Exercise U22.2 · The best projection
#
# Write `search(images, projections)`: for each image (n × 33 × 33) the number of the projection that fits best. The projections lie about 15° apart and come on a scale of their own: the score must not depend on it. Median error at most one step at a signal-to-noise ratio of 0.1.


# %% tags=["sharpen"]
def search(images, projections):
    """The number of the best projection for each image."""
    # BEGIN SOLUTION
    rows = projections.flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    return (images.flatten(1) @ rows.T).argmax(dim=1)
    # END SOLUTION


check("U22.2", search)

# %% [markdown] tags=["solution", "sharpen"]
# With the best factor $a$ for each pair, $\min_a |x-ap|^2 = |x|^2 - (x\cdot p)^2/|p|^2$. It is one matrix product; that is how the library does it, too, in Fourier space, with each coefficient divided by its noise, and with the CTF in $p$.

# %% [markdown] tags=["sharpen"]
# ## Refine locally
#
# A grid of 15° leaves errors of some 8°. A finer grid everywhere costs eight times as much for each halving. Looking only near the last best costs the same at each step.
#
# ### Exercise U22.3 · Below three degrees
#
# Write `refine(images, start, project)`: better orientations, from `start` (n × 3 × 3). `project(matrices)` gives projections of m orientations. `matrix_from_rotation_vector(vectors)` makes rotations from vectors (their length is the angle in rad). Median error below 3° at a signal-to-noise ratio of 0.1.


# %% tags=["sharpen"]
def refine(images, start, project):
    """Orientations near `start` that fit better."""
    # BEGIN SOLUTION
    around = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)] * 3)
    current = start
    for step in (8, 5, 3, 2, 1, 1):
        tried = matrix_from_rotation_vector(around * math.radians(step)) @ current[:, None]
        rows = project(tried.reshape(-1, 3, 3)).reshape(len(images), len(around), -1)
        rows = rows / rows.norm(dim=-1, keepdim=True)
        best = torch.einsum("ik,ijk->ij", images.flatten(1), rows).argmax(dim=1)
        current = tried[torch.arange(len(images)), best]
    return current
    # END SOLUTION


check("U22.3", refine)

# %% [markdown] tags=["sharpen"]
# **How good can it get?** Not by effort: the images hold only so much. The Fisher information of a pose is $\sum |\partial p/\partial\theta|^2/\sigma^2$; its inverse bounds the variance of every unbiased estimate (Cramér–Rao). Here:

# %% tags=["sharpen"]
step = math.radians(0.5)
directions = matrix_from_rotation_vector(step * torch.eye(3, dtype=torch.float64))
here = orientations[:30]
slopes = torch.stack(
    [(project(truth, turn @ here) - project(truth, turn.T @ here)).flatten(1) / (2 * step) for turn in directions], dim=1
).double()
noise_variance = float(clean.var(dim=(1, 2)).mean() / 0.1)
information = slopes @ slopes.transpose(1, 2) / noise_variance
bound = torch.linalg.inv(information).diagonal(dim1=1, dim2=2).sum(dim=1).sqrt()
print(
    f"no unbiased method has a root mean square error below {math.degrees(float(bound.median())):.1f}° on these images (median)"
)

# %% [markdown] tags=["blur"]
# ## What no image can tell
#
# Mirror the map. Search again, with all its orientations.
#
# ### Exercise U22.4 · Does the best score change?
#
# `"worse"`, `"better"` or `"no"`?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_hand = "no"
# END SOLUTION
predict("U22.4", my_hand, options=("worse", "better", "no"))

# %% tags=["blur"]
my_hand = prediction("U22.4")
exact = replace(truth, voxels=truth.voxels.double())
mirrored = replace(exact, voxels=exact.voxels.flip(0))  # z becomes −z; the box is odd, its middle stays
mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
poses = orientations[:20]
here, there = project(exact, poses), project(mirrored, mirror @ poses @ mirror)
difference = float((here - there).abs().max() / here.abs().max())
print(f"images of the mirrored map in mirrored poses differ by {difference:.1e} of their maximum")
assert difference < 1e-10
check("U22.4", my_hand)

# %% [markdown] tags=["solution", "blur"]
# **No.** A projection does not know what was in front. With $M=\mathrm{diag}(1,1,-1)$, the mirrored map in the pose $MRM$ (a rotation again) gives the *same* image: every score, every likelihood, every half-map correlation is equal. The hand comes from outside: a tilted second exposure, α-helices at 5 Å or better, a known structure, or the curvature of the Ewald sphere at high resolution (U10).

# %% [markdown] tags=["blur"]
# ## Round and round
#
# Now the circle. Begin with *some* map; find the poses; make a map of them; repeat. The **refine-o-matic** below does four rounds with 200 images, from a starting model of your choice. Before you look: which of the starts will *not* end at the truth?

# %% tags=["blur"]
line = torch.arange(BOX) - BOX // 2
ball = (line[:, None, None] ** 2 + line[:, None] ** 2 + line**2 < 12**2).to(truth.voxels)
STARTS = {
    "the truth, shells to 4": low_passed(truth, 4),
    "another molecule": low_passed(toy(5), 4),
    "a ball": replace(truth, voxels=ball + 0.02 * torch.randn(ball.shape, generator=torch.Generator().manual_seed(2))),
}
ROUNDS = 4


def refined_from(start):
    """The map and the orientations after each round."""
    steps, volume = [], start
    for number in range(ROUNDS):
        found = best_orientations(images, low_passed(volume, 5 + 3 * number))
        volume = reconstruct(images, found)
        steps.append((volume, found))
    return steps


def against_truth(volume, shells=9):
    """The mean correlation with the truth in shells 1 to 9 (no turn is looked for)."""
    return float(fourier.shell_correlation(volume.voxels, truth.voxels)[1 : shells + 1].mean())


runs = {name: refined_from(start) for name, start in STARTS.items()}
scores = {}
for name, steps in runs.items():
    volume = steps[-1][0]
    rows = project(volume, grid()).flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    scores[name] = float((images.flatten(1) @ rows.T).max(dim=1).values.mean() / images.flatten(1).norm(dim=1).mean())


def draw_run(start, number):
    """A section of the map after a round, and how it correlates with the truth and with itself."""
    volume, found = runs[start][number - 1]
    error = torch.rad2deg(geodesic_distance(found, orientations))
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
    for axis, voxels, title in (
        (axes[0], STARTS[start].voxels, "start"),
        (axes[1], volume.voxels, f"round {number}"),
        (axes[2], truth.voxels, "truth"),
    ):
        axis.imshow(low_passed(replace(truth, voxels=voxels), 9).voxels.sum(dim=0), cmap="gray")
        axis.set(xticks=[], yticks=[], title=title)
    axes[3].hist(error.numpy(), bins=np.arange(0, 181, 10), color="C0")
    axes[3].set(xlabel="error of the pose (°)", ylabel="images", title=f"median {float(error.median()):.0f}°")
    return figure


machine = exploration(
    draw_run,
    start=Choice(("the truth, shells to 4", "another molecule", "a ball"), label="starting model"),
    number=Slider(1, ROUNDS, ROUNDS, step=1, label="round"),
)
machine

# %% tags=["blur"]
for name, steps in runs.items():
    print(f"{name:24s} mean correlation with the truth {against_truth(steps[-1][0]):.2f}, mean score {scores[name]:.3f}")
assert against_truth(runs["the truth, shells to 4"][-1][0]) > 0.5

# %% [markdown] tags=["blur"]
# *Figure U22.c. The refine-o-matic: sums along z of the starting model, of the map after a round, and of the truth, to shell 9; and how wrong the poses are. A coarse copy of the truth is enough. From another molecule, or a ball, the same images end elsewhere, and nothing moves any more: each image confirms the map that was made from it. (A map in another frame would also show large errors here; the correlation alone cannot tell. The score can: the right map explains the images better.)*
#
# So: **low-pass the start** (what it did not hold cannot have come from it), try **several starts**, and compare their **likelihoods**, not their looks. Finding a start from nothing is *ab initio* reconstruction: many random starts, small batches, noise to shake the search out of its holes, and the likelihood to choose.

# %% [markdown] tags=["sharpen"]
# ## Halves that never meet
#
# How would you notice that you refined noise? Split the images once. Refine each half on its own, from a start without detail. Whatever both maps share beyond the start, they have from the particles.
#
# ### Exercise U22.5 · Gold standard
#
# Write `gold_standard(images, start, refine_once, rounds)`. `refine_once(some_images, map)` gives a better map from these images. Return the two final maps and their Fourier shell correlation (`fourier.shell_correlation` of their voxels).


# %% tags=["sharpen"]
def gold_standard(images, start, refine_once, rounds):
    """Two maps from halves that never met, and their correlation."""
    # BEGIN SOLUTION
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    maps = []
    for part in (order[::2], order[1::2]):
        current = start
        for _ in range(rounds):
            current = refine_once(images[part], current)
        maps.append(current)
    return *maps, fourier.shell_correlation(maps[0].voxels, maps[1].voxels)
    # END SOLUTION


check("U22.5", gold_standard)

# %% [markdown] tags=["sharpen"]
# <a id="L-M16-2"></a>
# ## Refining nothing
#
# The control experiment: 300 images of *pure noise*, refined against a model.
#
# ### Exercise U22.6 · Find the faults
#
# This function refines two halves and returns their maps. On pure noise they agree to shell 7 or so: it looks like a structure. There are two faults. Repair it, so that the halves of noise agree beyond shell 3 no better than by chance. Keep the arguments: `images`, `model`, `rounds`.


# %% tags=["sharpen"]
def refined_halves(images, model, rounds):
    """Two half maps."""
    start = model
    parts = images[:200], images[100:]
    # BEGIN SOLUTION
    start = low_passed(model, 3)
    parts = images[::2], images[1::2]
    # END SOLUTION
    maps = []
    for part in parts:
        current = start
        for _ in range(rounds):
            current = reconstruct(part, best_orientations(part, current))
        maps.append(current)
    return maps


check("U22.6", refined_halves)

# %% tags=["sharpen"]
nothing = noise_alone(5)
by_model = [reconstruct(nothing[half::2], best_orientations(nothing[half::2], truth)) for half in (0, 1)]
coarse = low_passed(truth, 3)
honest = [reconstruct(nothing[half::2], best_orientations(nothing[half::2], coarse)) for half in (0, 1)]
curves = {
    "start: the full model": by_model,
    "start: shells to 3": honest,
}
figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.6), width_ratios=(1, 1, 1.5), layout="constrained")
axes[0].imshow(low_passed(truth, 6).voxels.sum(dim=0), cmap="gray")
axes[1].imshow(low_passed(by_model[0], 6).voxels.sum(dim=0), cmap="gray")
for axis, title in zip(axes, ("the model, to shell 6", "150 images of noise, aligned to it"), strict=False):
    axis.set(xticks=[], yticks=[], title=title)
for name, (first, second) in curves.items():
    axes[2].plot(range(1, BOX // 2 + 1), fourier.shell_correlation(first.voxels, second.voxels)[1:], label=name)
axes[2].axhline(0.143, color="0.7", ls=":")
axes[2].set(xlabel="shell", ylabel="half-map correlation of noise", ylim=(-0.3, 1))
axes[2].legend(fontsize=8)
plt.show()
assert float(fourier.shell_correlation(by_model[0].voxels, by_model[1].voxels)[4:7].min()) > 0.3

# %% [markdown] tags=["sharpen"]
# *Figure U22.d. Halves of pure noise, aligned to one detailed model, agree with it and so with each other: the half-map correlation is that of the reference, not of the data. From a start that holds three shells only they agree in those, and nowhere else.*
#
# Three ways in which a map can be bad, and how they look: **wrong angles** blur, the more the farther from the middle; **preferred views** leave directions of Fourier space empty, the map looks drawn out; **too few or too noisy images** leave grain. The half-map correlation sees the third, partly the first, and the second only if it is taken direction by direction (U24).

# %% [markdown] tags=["sharpen"]
# ## With the library
#
# `inference.expectation` compares images with maps in Fourier space, up to a shell of your choice, from coarse to fine: it keeps the cells of the grid that hold 99.9 % of each image's posterior and looks closer there. It returns poses, how wide the posterior is, and the sums of which the next map is made, *averaged over the posterior*.

# %% tags=["sharpen"]
count = 100
zeros = torch.zeros(count, dtype=torch.float64)
particles = ParticleSet(
    optics=(Optics(pixel_size=VOXEL_SIZE, amplitude_contrast=1.0, spherical_aberration_mm=0.0),),
    optics_index=torch.zeros(count, dtype=torch.long),
    images=ImageStack(pixels=images[:count], pixel_size=VOXEL_SIZE),
    pose=Pose(
        lab_from_particle=torch.eye(3, dtype=torch.float64).expand(count, 3, 3), shift=torch.zeros(count, 2, dtype=torch.float64)
    ),
    defocus=Defocus(major=zeros, minor=zeros, azimuth=zeros, phase_shift=zeros),
)
asked = inference.SearchSettings(radius=12, diameter=95.0, angular_step=math.radians(3.8), shift_range=3.0, shift_step=3.0)
assigned = inference.expectation(
    particles,
    inference.VolumeReferences.of([truth], radius=12),
    inference.initial_noise(particles),
    asked,
    orientations=inference.GlobalOrientations(models=1),
)
error = torch.rad2deg(geodesic_distance(assigned.pose.lab_from_particle.double(), orientations[:count]))
width = torch.rad2deg(assigned.angular_width)
print(f"median error {float(error.median()):.1f}°, median width that the posterior claims {float(width.median()):.1f}°")
assert float(error.median()) < 5

# %% [markdown] tags=["sharpen"]
# ## What to take along
#
# - One degree at 75 Å is 1.3 Å. The images set a bound on what poses can be known to.
# - Search coarse, then locally; average over poses where the posterior is wide.
# - The hand is not in the images.
# - Low-pass the start; split once; let halves never meet; refine noise as a control.

# %% [markdown] tags=["blur"]
# **In your own words.** A refinement ends with a high half-map correlation. Name the ways in which it could be wrong all the same.

# %% tags=["blur"]
# BEGIN SOLUTION
my_text = (
    "Both halves may have begun with one detailed reference, so that they agree in noise; the hand is unknown; "
    "a tight mask correlates with itself; preferred views leave directions empty."
)
# END SOLUTION
explain("U22.words", my_text)
