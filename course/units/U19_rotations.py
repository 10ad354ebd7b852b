# %% [markdown]
# # U19 Coordinates, rotations and quaternions
#
# **Question.** A particle is frozen whichever way it happened to tumble. How do we write down which way that is, and how many ways are there?
#
# **What you need.** U00 (complex numbers as arrows). Dot products and $3\times3$ matrices. For *sharpen*: Taylor series.
#
# **What you will be able to do.**
#
# - go between matrices, Euler angles, axis and angle, and quaternions, and say what each is good for;
# - see gimbal lock coming, and survive it;
# - find out which convention somebody's three numbers were written in, before your map finds out for you;
# - draw orientations evenly at random, list them evenly on a grid, and know how many there are at 7.5°.
#
# About ninety minutes. The first three parts and most of the last are *blur*; you may skip every *sharpen* part without losing the thread.

# %%
import cmath
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import geometry
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.geometry import rotations, so3_grid, symmetry

# %% [markdown]
# ## A thing to turn
#
# A ball would teach us nothing, since it looks the same from everywhere. So we turn a letter F that stands on a foot. The F lies in the plane
# $z=0$, the foot (orange) points along $+z$. No rotation but "none" brings it back onto itself, and its mirror image cannot be reached by turning. Both
# matter: a test object with a hidden symmetry forgives mistakes.
#
# All through this course vectors are $(x, y, z)$, and a **positive turn is counter-clockwise when you look against the axis, from its tip to the
# origin** (your right thumb is the axis, your fingers curl the positive way). A turn about $z$ by $+90°$ therefore takes $x$ to $y$.

# %%
STROKES = (
    ("C0", [(-0.5, -1, 0), (-0.5, 1, 0)]),
    ("C0", [(-0.5, 1, 0), (0.6, 1, 0)]),
    ("C0", [(-0.5, 0.15, 0), (0.3, 0.15, 0)]),
    ("C1", [(-0.5, -1, 0), (-0.5, -1, 0.8)]),
)


def turn_about(axis, degrees):
    """The matrix of a turn about a coordinate axis, "x", "y" or "z"."""
    return rotations.matrix_about_axis(torch.tensor(math.radians(degrees), dtype=torch.float64), axis=axis).numpy()


def draw_in_space(axes, matrix, *, title=""):
    """The turned F in three dimensions."""
    for colour, ends in STROKES:
        axes.plot(*(np.asarray(matrix) @ np.array(ends, dtype=float).T), color=colour, lw=4, solid_capstyle="round")
    axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), xticks=[], yticks=[], zticks=[], title=title)
    for name, set_label in (("x", axes.set_xlabel), ("y", axes.set_ylabel), ("z", axes.set_zlabel)):
        set_label(name, labelpad=-12)
    axes.zaxis.set_rotate_label(False)
    axes.set_box_aspect((1, 1, 1))


def draw_as_image(axes, matrix, *, title=""):
    """The turned F as the beam sees it: projected along z onto the plane of the camera."""
    for colour, ends in STROKES:
        x, y, _ = np.asarray(matrix) @ np.array(ends, dtype=float).T
        axes.plot(x, y, color=colour, lw=5, alpha=0.8, solid_capstyle="round")
    axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), xticks=[], yticks=[], aspect="equal", title=title)


# %% [markdown] tags=["blur"]
# ## Order matters
#
# Take a book. Turn it by 90° about the line from left to right ($x$), then by 90° about the vertical line ($y$). Put it back, and do the same two
# turns in the other order. Before you do: will it end up the same?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "different"
# END SOLUTION
predict("U19.order", my_guess, options=("the same", "different", "mirror images"))

# %% tags=["blur"]
my_guess = prediction("U19.order")
quarter_x, quarter_y = turn_about("x", 90), turn_about("y", 90)
figure = plt.figure(figsize=(9, 3.2))
panels = {"before": np.eye(3), "first x, then y": quarter_y @ quarter_x, "first y, then x": quarter_x @ quarter_y}
for place, (title, matrix) in enumerate(panels.items(), start=1):
    draw_in_space(figure.add_subplot(1, 3, place, projection="3d"), matrix, title=title)
between = panels["first x, then y"].T @ panels["first y, then x"]
print(
    f"You said: {my_guess}. One more turn by {math.degrees(math.acos((np.trace(between) - 1) / 2)):.0f}° would be needed to make them the same."
)

# %% [markdown] tags=["blur"]
# *Figure U19.a. Two quarter turns in both orders. Note how the chain is written: the turn that is done first stands on the right, next to the vector it acts on,
# as in $R_y R_x\,v = R_y(R_x v)$.*
#
# In the plane order does not matter; in space it does. That is why orientations need more care than positions, and why "the three angles" of a particle mean
# nothing until somebody says of which turns, and in which order.

# %% [markdown] tags=["blur"]
# <a id="Q-M11-1"></a>
# ## Turning in the plane, and a first look into space
#
# In the plane a turn by $\alpha$ is the matrix
# $$R(\alpha) = \begin{pmatrix}\cos\alpha & -\sin\alpha\\ \sin\alpha & \cos\alpha\end{pmatrix},$$
# whose columns say where the two axes go. But U00 gave us another way to turn an arrow: multiply it by $e^{i\alpha}$. The two are the same thing:
# the real and the imaginary part of $(x+iy)(\cos\alpha + i\sin\alpha)$ are the two rows of $R(\alpha)\binom{x}{y}$. So
#
# - turning twice adds the angles, $e^{ia}e^{ib} = e^{i(a+b)}$, and the same holds for the matrices;
# - turning back is the conjugate $e^{-i\alpha}$, for the matrix the transpose: $R^\mathsf{T}R = 1$;
# - lengths and angles stay, and so does the hand: $\det R = +1$. A mirror has $\det = -1$.
#
# In space a rotation is any matrix with $R^\mathsf{T}R=1$ and $\det R=+1$. Each of them turns about some axis by some angle $\theta$ (Euler, 1775). Turn the
# coordinates so that the axis is $z$: then the diagonal is $\cos\theta,\cos\theta,1$. The trace does not depend on the coordinates, so for every rotation
# $$\operatorname{trace} R = 1 + 2\cos\theta .$$
# You can read the angle of a rotation off its diagonal, whatever its axis.

# %% tags=["blur"]
a, b = math.radians(50), math.radians(110)


def plane(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


assert np.allclose(plane(a) @ plane(b), plane(a + b), atol=1e-15)
assert cmath.isclose(cmath.exp(1j * a) * cmath.exp(1j * b), cmath.exp(1j * (a + b)))
turned = (3 + 1j) * cmath.exp(1j * a)
assert np.allclose(plane(a) @ [3, 1], [turned.real, turned.imag])
r = turn_about("z", 35) @ turn_about("x", 80) @ turn_about("y", -20)
assert np.allclose(r.T @ r, np.eye(3), atol=1e-15)
assert math.isclose(np.linalg.det(r), 1)
print(f"trace {np.trace(r):.4f}, so this rotation turns by {math.degrees(math.acos((np.trace(r) - 1) / 2)):.2f}°")

# %% [markdown] tags=["blur"]
# ### Exercise U19.5 · Three small rotations
#
# The study group worked problems 4, 6 and 7 of the chapter on rotations in J. R. Quine's *Mathematical Techniques in Structural Biology*. That text is not ours to
# copy, so here are three problems of our own on the same three sections: turning in the plane, the complex form, and turning in space. Your numbers:
#
# 1. Turn the point $(x, y)$ by `alpha` (degrees, counter-clockwise) about the origin. Where does it go?
# 2. Turn by `first`, then by `second`. Which single turn in $(-180°, 180°]$ does the same?
# 3. Turn by `about_x` about $x$, then by `about_z` about $z$. By what angle does the product turn? (Not by the sum!)
#
# Answer with four numbers: the new $x$, the new $y$, the single turn, the angle in space (degrees, two decimals).

# %% tags=["blur"]
parameters("U19.5")

# %% tags=["blur"]
numbers = parameters("U19.5")
# BEGIN SOLUTION
moved = complex(numbers["x"], numbers["y"]) * cmath.exp(1j * math.radians(numbers["alpha"]))
together = (numbers["first"] + numbers["second"] + 180) % 360 - 180
product = turn_about("z", numbers["about_z"]) @ turn_about("x", numbers["about_x"])
in_space = math.degrees(math.acos((np.trace(product) - 1) / 2))
answer = (moved.real, moved.imag, together, in_space)
# END SOLUTION
check("U19.5", answer)

# %% [markdown] tags=["blur", "solution"]
# 1. $x' + iy' = (x+iy)\,e^{i\alpha}$, that is $x' = x\cos\alpha - y\sin\alpha$ and $y' = x\sin\alpha + y\cos\alpha$.
# 2. The exponents add; subtract 360° when the sum exceeds 180°. $R(\alpha)$ and $R(\alpha+360°)$ are the same matrix.
# 3. The diagonal of $R_z(\varphi)R_x(\psi)$ is $\cos\varphi,\ \cos\varphi\cos\psi,\ \cos\psi$. So
#    $\cos\theta = \tfrac12(\cos\varphi + \cos\psi + \cos\varphi\cos\psi - 1)$, which is also $\cos\frac\theta2 = \cos\frac\varphi2\cos\frac\psi2$: half angles begin to show.

# %% [markdown] tags=["blur"]
# ## Two angles choose the view, the third turns the picture
#
# Think of the particle as a globe. The electrons cross it in one direction, and where they leave is the **view direction**. In spherical coordinates it is
# $$\hat d = (\sin t\cos r,\ \sin t\sin r,\ \cos t),$$
# with the tilt $t$ from the north pole (0° to 180°) and the longitude $r$. The third angle $p$ only turns the picture on the camera, which is why a search over
# orientations can do it cheaply. RELION calls them `rlnAngleRot`, `rlnAngleTilt` and `rlnAnglePsi`.
#
# Move the third slider first: the point on the globe does not move. Then set the tilt to 0 and move the first: now *rot* turns the picture too.


# %% tags=["blur"]
def pose_of(rot, tilt, psi):
    """lab_from_particle for RELION's three angles in degrees."""
    angles = torch.tensor([rot, tilt, psi], dtype=torch.float64).deg2rad()
    return geometry.matrix_from_euler(angles, order="ZYZ").mT.numpy()


def draw_view(rot, tilt, psi):
    """The globe of the particle with its view direction, and the picture on the camera."""
    r = pose_of(rot, tilt, psi)
    figure = plt.figure(figsize=(9, 4))
    globe = figure.add_subplot(1, 2, 1, projection="3d")
    draw_in_space(globe, np.eye(3), title="the particle and its globe")
    longitude, height = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(-1, 1, 13))
    ring = np.sqrt(1 - height**2)
    globe.plot_wireframe(1.4 * ring * np.cos(longitude), 1.4 * ring * np.sin(longitude), 1.4 * height, color="0.8", lw=0.4)
    x, y, z = 1.4 * r[2]
    globe.plot([0, x], [0, y], [0, z], color="C3")
    globe.plot([x], [y], [z], "o", color="C3", ms=9)
    globe.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), zlim=(-1.1, 1.1))
    draw_as_image(figure.add_subplot(1, 2, 2), r, title="what the camera sees")
    return figure


view_sphere = exploration(
    draw_view,
    rot=Slider(-180, 180, 40, label="rot (°)"),
    tilt=Slider(0, 180, 50, label="tilt (°)"),
    psi=Slider(-180, 180, 0, label="psi (°)"),
)
view_sphere

# %% [markdown] tags=["blur"]
# *Figure U19.b. Left: the particle in its own frame, with the direction (red) in which the beam leaves it. Right: the image. The matrix that does it is*
# `lab_from_particle`*, $x_\text{lab} = R\,x_\text{particle}$; its third row is the view direction.*

# %% [markdown] tags=["blur"]
# ## Euler angles, and how they lock
#
# Any orientation can be reached by three turns about axes of the apparatus: a turn about axis 1, then about axis 2, which has been carried along, then about axis 3, which
# has been carried along twice. Three nested rings do just this. There are twelve ways to choose the axes ($ZYZ$, $ZXZ$, $XYZ$ …; neighbours must differ), each about
# moving or about fixed axes. The electron microscopist's habit is $ZYZ$, the aeronaut's is $ZYX$ (yaw, pitch, roll).
#
# Now predict. In the $ZYZ$ order, set the middle angle to zero. In how many *independent* ways can small changes of the three angles still turn the object: 1, 2 or 3?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = 2
# END SOLUTION
predict("U19.lock", my_guess)


# %% tags=["blur"]
def draw_gimbal(order, first, middle, last):
    """Three nested rings, the axes about which they turn, and the F they hold."""
    vectors = {"X": np.array([1.0, 0, 0]), "Y": np.array([0, 1.0, 0]), "Z": np.array([0, 0, 1.0])}
    turns = [turn_about(axis.lower(), angle) for axis, angle in zip(order, (first, middle, last), strict=True)]
    carried = [np.eye(3), turns[0], turns[0] @ turns[1]]
    axes_now = [frame @ vectors[axis] for frame, axis in zip(carried, order, strict=True)]
    figure = plt.figure(figsize=(9, 4.4))
    space = figure.add_subplot(1, 2, 1, projection="3d")
    circle = np.linspace(0, 2 * np.pi, 90)
    for colour, pivot, other, frame, size in (
        ("C2", vectors[order[0]], vectors[order[1]], turns[0], 1.5),
        ("C4", vectors[order[1]], np.cross(vectors[order[0]], vectors[order[1]]), turns[0] @ turns[1], 1.3),
    ):
        ring = frame @ (np.outer(pivot, np.cos(circle)) + np.outer(other, np.sin(circle))) * size
        space.plot(*ring, color=colour, lw=2)
    for colour, axis, size in zip(("C2", "C4", "C3"), axes_now, (1.8, 1.5, 1.3), strict=True):
        space.plot(*np.outer(axis, [-size, size]), color=colour, lw=1.5, ls="--")
    draw_in_space(space, 0.8 * turns[0] @ turns[1] @ turns[2])
    lock = math.degrees(math.acos(min(1.0, abs(float(axes_now[0] @ axes_now[2])))))
    space.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), zlim=(-1.2, 1.2), title=f"axes 1 and 3 are {lock:.0f}° apart")
    draw_as_image(figure.add_subplot(1, 2, 2), turns[0] @ turns[1] @ turns[2], title="seen along z")
    return figure


my_guess = prediction("U19.lock")
gimbal = exploration(
    draw_gimbal,
    order=Choice(("ZYZ", "ZYX", "XYZ"), label="order"),
    first=Slider(-180, 180, -35, label="first angle (°)"),
    middle=Slider(-180, 180, 50, label="middle angle (°)"),
    last=Slider(-180, 180, 20, label="last angle (°)"),
)
gimbal

# %% [markdown] tags=["blur"]
# *Figure U19.c. A gimbal. Green: the outer ring and axis 1. Violet: axis 2, carried by the outer ring. Red: axis 3, carried by both. When axes 1 and 3 fall onto the same line, the first and
# the last slider turn about that same line: only their sum (or difference) matters. That is **gimbal lock**.*
#
# Two ways are left: about the common line of axes 1 and 3, and about axis 2. The third, about the line perpendicular to both, is out of reach: from a locked position no small change of
# the angles turns the object that way. To get there, the outer ring would first have to swing by 90°.
#
# Nothing is wrong with the *rotation* there. It is the *map* that is bad, just as longitude is bad at the north pole, where one step changes it by a hemisphere. Particles seen from the top
# ($t=0$) sit exactly there. Programs that average, interpolate or refine the angles themselves stumble; those that use matrices or quaternions do not notice.

# %% tags=["blur"]
same = [pose_of(30, 0, 20), pose_of(50, 0, 0), pose_of(-70, 0, 120)]
assert all(np.allclose(same[0], other) for other in same)
print("rot, tilt, psi = (30, 0, 20), (50, 0, 0), (−70, 0, 120): one orientation, three names")
near, far = pose_of(0, 1, 0), pose_of(90, 1, -90)
turn_between = rotations.geodesic_distance(torch.from_numpy(near), torch.from_numpy(far))
print(f"(0, 1, 0) and (90, 1, −90) differ by 90° in two angles, yet are only {math.degrees(turn_between):.2f}° apart")

# %% [markdown] tags=["sharpen"]
# <a id="Q-M11-2"></a>
# ## Euler angles from a matrix
#
# G. Slabaugh's note *Computing Euler angles from a rotation matrix* uses the aeronaut's convention, $R = R_z(\varphi)\,R_y(\theta)\,R_x(\psi)$: about the fixed axes $x$, then $y$, then $z$. Multiply it out:
# $$R = \begin{pmatrix}
# c_\theta c_\varphi & s_\psi s_\theta c_\varphi - c_\psi s_\varphi & c_\psi s_\theta c_\varphi + s_\psi s_\varphi\\
# c_\theta s_\varphi & s_\psi s_\theta s_\varphi + c_\psi c_\varphi & c_\psi s_\theta s_\varphi - s_\psi c_\varphi\\
# -s_\theta & s_\psi c_\theta & c_\psi c_\theta
# \end{pmatrix}.$$
# Sympy will do it for us, and so confirm the matrix before we rely on it.

# %% tags=["sharpen"]
import sympy

psi, theta, phi = sympy.symbols("psi theta phi", real=True)
product = sympy.rot_ccw_axis3(phi) * sympy.rot_ccw_axis2(theta) * sympy.rot_ccw_axis1(psi)
s, c = sympy.sin, sympy.cos
by_hand = sympy.Matrix(
    [
        [c(theta) * c(phi), s(psi) * s(theta) * c(phi) - c(psi) * s(phi), c(psi) * s(theta) * c(phi) + s(psi) * s(phi)],
        [c(theta) * s(phi), s(psi) * s(theta) * s(phi) + c(psi) * c(phi), c(psi) * s(theta) * s(phi) - s(psi) * c(phi)],
        [-s(theta), s(psi) * c(theta), c(psi) * c(theta)],
    ]
)
assert (product - by_hand).applyfunc(sympy.expand) == sympy.zeros(3, 3)
product

# %% [markdown] tags=["sharpen"]
# Read it backwards. The corner $R_{31} = -\sin\theta$ gives $\theta$, **twice**: $\theta_1 = -\arcsin R_{31}$ and $\theta_2 = \pi-\theta_1$ have the same sine. For each of them
# $$\psi = \operatorname{arctan2}\!\Big(\frac{R_{32}}{\cos\theta}, \frac{R_{33}}{\cos\theta}\Big),\qquad
# \varphi = \operatorname{arctan2}\!\Big(\frac{R_{21}}{\cos\theta}, \frac{R_{11}}{\cos\theta}\Big).$$
# The divisions look idle, since a common factor does not change an angle. But $\cos\theta_2 = -\cos\theta_1$ is negative for one of the two solutions, and a negative common factor changes *both* signs.
#
# In lock, $\cos\theta=0$, those four elements vanish. For $\theta = +90°$ what remains is $R_{12} = \sin(\psi-\varphi)$ and $R_{13} = \cos(\psi-\varphi)$; for $\theta=-90°$ it is $R_{12} = -\sin(\psi+\varphi)$,
# $R_{13} = -\cos(\psi+\varphi)$. Only a difference or a sum is there to be found, so one chooses $\varphi=0$.
#
# Two warnings for floating point. The published pseudo-code asks whether $R_{31}\neq\pm1$. A computed matrix in lock has $R_{31} = 0.9999999999999998$, or $1.0000000000000002$: the test must have a tolerance, and the arc
# sine of the second is NaN. And this is not the $ZYZ$ of the files of cryo-EM.
#
# ### Exercise U19.4 · Both solutions, and the lock
#
# Write `euler_angles(R)`. It returns two rows `(ψ, θ, φ)` in radians, one for each solution; in lock both rows may be the same.

# %% tags=["sharpen"]


def euler_angles(R):
    """Both triples (ψ, θ, φ) with R = Rz(φ) Ry(θ) Rx(ψ), rad."""
    # BEGIN SOLUTION
    sine = -R[2, 0]
    if abs(sine) > 1 - 1e-9:  # lock: only ψ − φ (or ψ + φ) is defined, so φ = 0
        sign = math.copysign(1.0, sine)
        row = (math.atan2(sign * R[0, 1], sign * R[0, 2]), sign * math.pi / 2, 0.0)
        return np.array([row, row])
    theta = math.asin(sine)
    rows = []
    for angle in (theta, math.pi - theta):
        sign = math.copysign(1.0, math.cos(angle))
        rows.append((math.atan2(sign * R[2, 1], sign * R[2, 2]), angle, math.atan2(sign * R[1, 0], sign * R[0, 0])))
    return np.array(rows)
    # END SOLUTION


example = turn_about("z", 45) @ turn_about("y", 45) @ turn_about("x", 45)
print(example.round(4))
print(np.degrees(euler_angles(example)).round(6))
check("U19.4", euler_angles)

# %% [markdown] tags=["sharpen", "solution"]
# For $\psi=\theta=\varphi=45°$ the rows of $R$ are $(0.5, -0.1464, 0.8536)$, $(0.5, 0.8536, -0.1464)$, $(-0.7071, 0.5, 0.5)$, and the two answers are $(45°,45°,45°)$ and
# $(-135°, 135°, -135°)$; 225° is the same as −135°. In lock, for example with $(\psi,\theta,\varphi) = (30°, 90°, 20°)$, the matrix only knows $\psi-\varphi = 10°$, and the solution above returns
# $(10°, 90°, 0°)$.

# %% tags=["sharpen", "solution"]
locked = turn_about("z", 20) @ turn_about("y", 90) @ turn_about("x", 30)
print(np.degrees(euler_angles(locked)[0]).round(6))

# %% [markdown] tags=["sharpen"]
# The library does not use an arc sine at all. It goes through the quaternion, whose components give half the sum and half the difference of the outer angles by arctan2, and the middle angle as twice the
# arctan2 of two lengths (Bernardes and Viollet, 2022). All 24 orders come from the same dozen lines, and nothing is lost near the lock. Here is how much the arc sine loses:

# %% tags=["sharpen"]
distances = np.logspace(-9, 0, 40)
errors = {"arc sine": [], "half angles (library)": []}
for distance in distances:
    true = torch.tensor([0.3, math.pi / 2 - distance, -0.8], dtype=torch.float64)
    matrix = geometry.matrix_from_euler(true, order="xyz")
    sine = min(1.0, float(-matrix[2, 0]))
    errors["arc sine"].append(abs(math.asin(sine) - float(true[1])))
    errors["half angles (library)"].append(abs(float(geometry.euler_from_matrix(matrix, order="xyz")[1] - true[1])))
figure, axes = plt.subplots(figsize=(6, 3.4))
for label, values in errors.items():
    axes.loglog(distances, np.maximum(values, 1e-17), label=label)
axes.set(xlabel="distance from the lock (rad)", ylabel="error of the middle angle (rad)")
axes.legend()
print(f"worst error: arc sine {max(errors['arc sine']):.1e} rad, half angles {max(errors['half angles (library)']):.1e} rad")

# %% [markdown] tags=["sharpen"]
# *Figure U19.d. The middle Euler angle recovered from a matrix, near gimbal lock. An arc sine (or arc cosine) near its end returns the square root of a round-off error.*

# %% [markdown] tags=["blur"]
# ## Whose angles are these?
#
# Three numbers without a convention are a rumour. The panel shows one orientation, in the ways in which programs would write it down, and what the particle looks like if you **read** the three RELION angles in some
# other way.


# %% tags=["blur"]
READINGS = {
    "forgetting to invert": lambda angles: geometry.matrix_from_euler(angles, order="ZYZ"),
    "as RELION means them (ZYZ, then inverted)": lambda angles: geometry.matrix_from_euler(angles, order="ZYZ").mT,
    "as ZXZ": lambda angles: geometry.matrix_from_euler(angles, order="ZXZ").mT,
    "as XYZ": lambda angles: geometry.matrix_from_euler(angles, order="XYZ").mT,
    "about fixed axes (zyz)": lambda angles: geometry.matrix_from_euler(angles, order="zyz").mT,
    "with the sign of psi changed": lambda angles: geometry.matrix_from_euler(angles * torch.tensor([1, 1, -1]), order="ZYZ").mT,
}


def written_down(r):
    """One orientation in the words of several programs."""
    wxyz = geometry.quaternion_from_matrix(r)
    rows = {
        "quaternion w,x,y,z": wxyz,
        "SciPy x,y,z,w": wxyz.roll(-1),
        "rotation vector (rad)": geometry.rotation_vector_from_matrix(r),
        "cryoSPARC pose (rad)": geometry.rotation_vector_from_matrix(r.mT),
        "RELION rot,tilt,psi (°)": geometry.euler_from_matrix(r.mT, order="ZYZ").rad2deg(),
        "ZXZ (°)": geometry.euler_from_matrix(r.mT, order="ZXZ").rad2deg(),
    }
    return "\n".join(f"{name:24s}" + " ".join(f"{float(value):8.3f}" for value in numbers) for name, numbers in rows.items())


def draw_reading(reading, rot, tilt, psi):
    """The particle as it is, as it looks when its angles are misread, and its orientation written in several ways."""
    angles = torch.tensor([rot, tilt, psi], dtype=torch.float64).deg2rad()
    right, read = READINGS["as RELION means them (ZYZ, then inverted)"](angles), READINGS[reading](angles)
    error = math.degrees(geometry.geodesic_distance(right, read))
    figure = plt.figure(figsize=(11, 3.4))
    (left, middle, text) = figure.subplots(1, 3, width_ratios=(1, 1, 1.7))
    draw_as_image(left, right, title="the particle")
    draw_as_image(middle, read, title=f"misread by {error:.1f}°" if error > 0.05 else "read rightly")
    text.text(0, 0.5, written_down(right), family="monospace", fontsize=9, va="center")
    text.set_axis_off()
    return figure


converter = exploration(
    draw_reading,
    reading=Choice(tuple(READINGS), label="read them"),
    rot=Slider(-180, 180, 30, label="rot (°)"),
    tilt=Slider(0, 180, 70, label="tilt (°)"),
    psi=Slider(-180, 180, -20, label="psi (°)"),
)
converter

# %% [markdown] tags=["blur"]
# *Figure U19.e. A convention converter. Left: the particle. Middle: the same three numbers under another reading. Right: the one orientation as various programs store it. Look for settings where a wrong reading
# happens to be right (there are many with round numbers): those are the settings that people test with.*
#
# ### Finding the mistake in the data
#
# Some years ago a script drew particles in random orientations, computed their $x$-$y$-$z$ angles, and wrote them into columns that its own documentation called $z$-$x$-$z$. Every number is a proper angle, and no program complains. How would
# you notice? Look at where the particles seem to be seen from.

# %% tags=["blur"]
true_poses = geometry.random_rotations(100_000, generator=torch.Generator().manual_seed(11))
misread = geometry.matrix_from_euler(geometry.euler_from_matrix(true_poses.mT, order="XYZ"), order="ZXZ").mT
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for panel, poses, title in zip(axes, (true_poses, misread), ("as simulated", "xyz written, zxz read"), strict=True):
    height = geometry.view_direction(poses)[:, 2]
    panel.hist(height.numpy(), bins=50, range=(-1, 1), density=True, color="C0")
    near_pole = float((height.abs() > math.cos(math.radians(30))).double().mean())
    panel.set(xlabel="height of the view on the globe, cos(tilt)", title=title)
    print(
        f"{title:22s}: within 30° of a pole {100 * near_pole:.1f} %, mean |cos tilt| {float(height.abs().mean()):.3f}, southern views {100 * float((height < 0).double().mean()):.1f} %"
    )
axes[0].set_ylabel("density")
# %% [markdown] tags=["blur"]
# *Figure U19.f. Views of randomly oriented particles. Evenly spread directions have evenly spread heights, because equal slices of a sphere have equal areas (Archimedes). The misread ones crowd at one pole: the middle
# angle of $x$-$y$-$z$ runs from −90° to 90°, so as a tilt it never reaches the southern half.*
#
# **A rule that costs nothing:** plot the viewing directions of every file that you import, before you use it. A real preferred orientation has spots; a convention mistake has geometry.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M12-1"></a>
# ## Axis and angle: rotations as exponentials
#
# A small turn by $\mathrm d\theta$ about a unit axis $\hat n$ moves a vector by $\hat n\times v\,\mathrm d\theta = K v\,\mathrm d\theta$, with
# $$K = \begin{pmatrix}0&-n_z&n_y\\ n_z&0&-n_x\\ -n_y&n_x&0\end{pmatrix}.$$
# A large turn is many small ones, $R = \lim_{m\to\infty}(1+\theta K/m)^m = e^{\theta K}$. Since $\hat n\times(\hat n\times(\hat n\times v)) = -\hat n\times v$, we have $K^3=-K$. So the odd powers in the series are all
# $\pm K$ and the even ones all $\pm K^2$; collecting them gives **Rodrigues' formula**
# $$R = 1 + \sin\theta\,K + (1-\cos\theta)\,K^2 .$$
# Compare with $e^{i\theta} = \cos\theta + i\sin\theta$: it is the same calculation with $i^3=-i$.
#
# The other way round: $K$ is antisymmetric and $K^2$ symmetric, so $R-R^\mathsf{T} = 2\sin\theta\,K$ holds the axis, and $\operatorname{trace}R = 1+2\cos\theta$ the angle.
#
# Composition is where exponentials of matrices stop behaving like numbers: $e^{A}e^{B} = e^{A+B+\frac12(AB-BA)+\dots}$. Turns about one axis commute and their angles add. For others the
# correction is $\frac12(K_aK_b-K_bK_a)$, which is the matrix of $\frac12\,a\times b$: two small turns fail to commute by a turn about the direction perpendicular to both.

# %% tags=["sharpen"]
first, second = torch.tensor([0.01, 0, 0], dtype=torch.float64), torch.tensor([0, 0.01, 0], dtype=torch.float64)
there = geometry.matrix_from_rotation_vector(first) @ geometry.matrix_from_rotation_vector(second)
back = geometry.matrix_from_rotation_vector(second) @ geometry.matrix_from_rotation_vector(first)
left_over = geometry.rotation_vector_from_matrix(there @ back.mT)
print("turns of 0.01 rad about x and y, in one order and undone in the other, leave", left_over.numpy().round(8), "rad: a × b")
assert torch.allclose(left_over, torch.linalg.cross(first, second), atol=2e-6)

# %% [markdown] tags=["sharpen"]
# ### Exercise U19.6 · To the axis and back
#
# The group's second meeting worked through all problems of Quine's chapter; again, the book is his, and these are ours. Write two functions and answer with both.
#
# - `rodrigues(axis, angle)`: the matrix, for a unit axis;
# - `axis_and_angle(R)`: a unit axis and an angle in $[0,\pi]$ (you may leave exact half turns aside).
#
# The check compares the first with the matrix exponential (1e-12), and asks it for a third of a turn about $(1,1,1)/\sqrt3$, which must carry $x\to y\to z\to x$; it sends random rotations through the second and back.

# %% tags=["sharpen"]


def rodrigues(axis, angle):
    """The matrix of a turn by `angle` (rad) about a unit axis."""
    # BEGIN SOLUTION
    x, y, z = axis
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * K + 2 * math.sin(angle / 2) ** 2 * (K @ K)
    # END SOLUTION


def axis_and_angle(R):
    """The unit axis, and the angle in [0, π], of a rotation matrix."""
    # BEGIN SOLUTION
    vector = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])  # 2 sin θ n
    twice_sine = np.linalg.norm(vector)
    return vector / twice_sine, math.atan2(twice_sine, np.trace(R) - 1)
    # END SOLUTION


third = rodrigues(np.ones(3) / math.sqrt(3), 2 * math.pi / 3)
print(third.round(12))
check("U19.6", (rodrigues, axis_and_angle))

# %% [markdown] tags=["sharpen", "solution"]
# The columns of the printed matrix are the images of $x$, $y$ and $z$: it permutes the axes. $1-\cos\theta$ is written as $2\sin^2\frac\theta2$, which keeps its digits for small angles. The angle comes from
# arctan2 of sine and cosine rather than from an arc cosine of the trace, for the reason of Figure U19.d.
#
# Two more results that belong to this set, with one-line proofs. **A rotation carries axes along:** $R\,e^{K_v}R^\mathsf{T} = e^{K_{Rv}}$, because $R(v\times R^\mathsf{T}u) = (Rv)\times u$. **Every rotation in space has an axis:**
# $\det(R-1) = \det(R^\mathsf{T})\det(R-1) = \det(1-R^\mathsf{T}) = \det(1-R) = -\det(R-1)$ in three dimensions, so it is zero, and 1 is an eigenvalue.

# %% tags=["sharpen", "solution"]
r = geometry.random_rotations(1, generator=torch.Generator().manual_seed(4))[0]
v = torch.tensor([0.3, -1.1, 0.6], dtype=torch.float64)
carried = r @ geometry.matrix_from_rotation_vector(v) @ r.mT
assert torch.allclose(carried, geometry.matrix_from_rotation_vector(r @ v), atol=1e-14)
K = rotations.cross_product_matrix(v / v.norm())
assert torch.allclose(K @ K @ K, -K, atol=1e-15)
print("eigenvalues of a rotation:", torch.linalg.eigvals(r).numpy().round(4))

# %% [markdown] tags=["blur"]
# <a id="Q-M12-2"></a>
# ## Quaternions: complex numbers for space
#
# In the plane a complex number of length one *is* a turn. Hamilton looked for numbers that do the same in space and found that they need four parts,
# $$q = w + x\,i + y\,j + z\,k,\qquad i^2=j^2=k^2=ijk=-1 .$$
# From that one line the multiplication table follows; read row times column:
#
# | × | $i$ | $j$ | $k$ |
# |---|---|---|---|
# | $i$ | $-1$ | $k$ | $-j$ |
# | $j$ | $-k$ | $-1$ | $i$ |
# | $k$ | $j$ | $-i$ | $-1$ |
#
# The turn by $\theta$ about the unit axis $\hat n$ is
# $$q = \cos\tfrac\theta2 + \sin\tfrac\theta2\,(n_x i + n_y j + n_z k),\qquad r' = q\,r\,q^{-1},$$
# with the point written as a quaternion without scalar, $r = r_x i + r_y j + r_z k$. The angle enters **halved**, because $q$ acts twice, once from each side. Now turn the dial beyond one full turn, and watch the quaternion.


# %% tags=["blur"]
def ribbon(turns, undone=0.0):
    """Middle line and edges of a belt between a wall and an object that was turned; `undone` from 0 to 1 combs two turns out."""
    along = np.linspace(0, 1, 160)
    spin = torch.from_numpy(2 * np.pi * along)
    axis = torch.tensor([math.sin(math.pi * undone), 0.0, math.cos(math.pi * undone)], dtype=torch.float64)
    if undone > 0:
        frames = rotations.matrix_about_axis(spin, axis="z") @ geometry.matrix_from_rotation_vector(spin[:, None] * axis)
    else:
        frames = rotations.matrix_about_axis(turns * spin, axis="z")
    frames = frames.numpy()
    radius = 1.6 - 1.3 * along
    middle = radius[:, None] * frames[:, :, 2]
    across = 0.16 * frames[:, :, 0]
    return middle - across, middle + across


def draw_ribbon(axes, turns, undone=0.0, *, width=1.2):
    """The belt in space, its two edges in different colours, in a box of twice this width."""
    left, right = ribbon(turns, undone)
    axes.plot(*left.T, color="C3", lw=2)
    axes.plot(*right.T, color="C0", lw=2)
    for start in range(0, len(left), 4):
        axes.plot(*np.stack([left[start], right[start]]).T, color="0.75", lw=0.8)
    axes.plot([-0.3, 0.3], [0, 0], [1.6, 1.6], color="k", lw=4)  # the wall
    axes.plot([0], [0], [0.22], "o", color="k", ms=8)  # the object
    axes.set(xlim=(-width, width), ylim=(-width, width), zlim=(1.7 - 2 * width, 1.7))
    axes.set_box_aspect((1, 1, 1), zoom=1.3)
    axes.set_axis_off()
    axes.view_init(elev=12, azim=-60)


def draw_double_cover(angle):
    """The turned F, a belt that hangs from it, and the quaternion in the plane of w and z."""
    half = math.radians(angle) / 2
    figure = plt.figure(figsize=(10, 3.6))
    draw_as_image(figure.add_subplot(1, 3, 1), turn_about("z", angle), title=f"turned by {angle:.0f}° about z")
    belt = figure.add_subplot(1, 3, 2, projection="3d")
    draw_ribbon(belt, angle / 360, width=0.85)
    belt.set(title="a belt from object to wall")
    dial = figure.add_subplot(1, 3, 3)
    circle = np.linspace(0, 2 * np.pi, 200)
    dial.plot(np.cos(circle), np.sin(circle), color="0.8")
    dial.plot([0, math.cos(half)], [0, math.sin(half)], "C1", lw=3)
    dial.plot([-math.cos(half)], [-math.sin(half)], "o", mfc="none", mec="C1", label="−q, the same turn")
    dial.set(xlabel="w", ylabel="z", aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
    dial.set_title(f"q = ({math.cos(half):+.3f}, 0, 0, {math.sin(half):+.3f})")
    dial.legend(loc="upper left", fontsize=8)
    return figure


double_cover = exploration(draw_double_cover, angle=Slider(0, 720, 120, step=10, label="angle (°)"))
double_cover

# %% [markdown] tags=["blur"]
# *Figure U19.g. The double-cover dial. After 360° the letter is back, but the quaternion has arrived at $-q$, and the belt has a full twist. After 720° the quaternion is back too. Both $q$ and $-q$ are the same rotation: $q\,r\,q^{-1}$ does not see the sign.*
#
# And the belt after 720°? It has two full twists, and they can be combed out **without turning the object**. With one full twist that is impossible, however you try. Take a belt and a book, and see that it is true.

# %% tags=["blur"]
figure = plt.figure(figsize=(13, 2.8))
for place, undone in enumerate((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), start=1):
    axes = figure.add_subplot(1, 6, place, projection="3d")
    draw_ribbon(axes, 2.0, undone)
    axes.set_title(f"{100 * undone:.0f} %", fontsize=9)
ends = [np.abs(ribbon(2.0, undone)[0][[0, -1]] - ribbon(2.0)[0][[0, -1]]).max() for undone in (0.2, 0.5, 1.0)]
assert max(ends) < 1e-12
print(f"both ends of the belt stay where they are while it is combed (they move by {max(ends):.0e})")

# %% [markdown] tags=["blur"]
# *Figure U19.h. Combing out two full twists. Every cross-section of the belt turns first about $z$ and then about an axis that swings over from $+z$ to $-z$: two turns that add at the beginning and cancel at the end.*


# %% tags=["blur"]
def draw_belt(undone):
    """The belt with two twists, partly combed out."""
    figure = plt.figure(figsize=(4, 4))
    draw_ribbon(figure.add_subplot(projection="3d"), 2.0, undone)
    return figure


belt_trick = exploration(draw_belt, undone=Slider(0.0, 1.0, 0.3, step=0.05, label="combed out"))
belt_trick

# %% [markdown] tags=["blur"]
# *Figure U19.i. The same with a slider.*
#
# ### Exercise U19.2 · A quarter turn, clockwise
#
# Which quaternion $(w, x, y, z)$ turns by 90° **clockwise** about the $z$ axis? "Clockwise" needs a viewpoint: we look from $+z$ down to the origin. (Seen from below, the same turn is counter-clockwise. Somebody's sign is always relative to
# somebody's chair.)

# %% tags=["blur"]
# BEGIN SOLUTION
half = math.radians(-90) / 2
answer = (math.cos(half), 0.0, 0.0, math.sin(half))
# END SOLUTION
check("U19.2", answer)

# %% [markdown] tags=["blur", "solution"]
# Positive is counter-clockwise, so $\theta=-90°$, and $q = (\cos 45°, 0, 0, -\sin 45°) = (0.7071, 0, 0, -0.7071)$. Its negative, $(-0.7071, 0, 0, 0.7071)$, is the same rotation and just as right: on the dial it is the turn by $+270°$.
# It sends $(1,0,0)$ to $(0,-1,0)$. In SciPy the scalar comes last unless you ask otherwise.

# %% tags=["blur", "solution"]
for sign in (1, -1):
    matrix = geometry.matrix_from_quaternion(sign * torch.tensor([math.sqrt(0.5), 0, 0, -math.sqrt(0.5)], dtype=torch.float64))
    print((matrix @ torch.tensor([1.0, 0, 0], dtype=torch.float64)).numpy().round(4) + 0.0)

# %% [markdown] tags=["blur"]
# <a id="Q-M12-3"></a>
# ### Exercise U19.1 · With pencil and paper
#
# Turn the point $r=(1,0,0)$ by $\theta=180°$ about the $z$ axis, with quaternions. The recipe is in three steps; only the multiplication table above is needed.
#
# 1. Write $q$ for this axis and angle. What remains of it, when $\cos 90°=0$?
# 2. Write $q^{-1}$. (Turn by $-\theta$; or: a quaternion times its inverse is 1.)
# 3. Multiply $q\,r\,q^{-1}$, one product at a time, keeping the order.
#
# Fill in the step sheet, one unit with its sign on each line (such as `"-j"`). It is followed line by line, with nothing but the table.

# %% tags=["predict", "blur"]
# steps = {"q": "...", "inverse of q": "...", "q r": "...", "q r times the inverse": "..."}
# BEGIN SOLUTION
steps = {"q": "k", "inverse of q": "-k", "q r": "j", "q r times the inverse": "-i"}
# END SOLUTION
predict("U19.steps", steps)

# %% tags=["blur"]
TABLE = {"ii": "-1", "jj": "-1", "kk": "-1", "ij": "k", "jk": "i", "ki": "j", "ji": "-k", "kj": "-i", "ik": "-j"}


def times(first, second):
    """The product of two signed units, by the table."""
    units = first.lstrip("-") + second.lstrip("-")
    product = units.replace("1", "") or "1"
    product = TABLE.get(product, product)
    is_negative = (first + second + product).count("-") % 2 == 1
    return "-" * is_negative + product.lstrip("-")


steps = {name: text.replace(" ", "").replace("−", "-").lstrip("+") for name, text in prediction("U19.steps").items()}
lines = {
    "q lies along the axis": steps["q"].lstrip("-") == "k",
    "q times its inverse is 1": times(steps["q"], steps["inverse of q"]) == "1",
    "q r follows from the table": steps["q r"] == times(steps["q"], "i"),
    "the last product follows from the table": steps["q r times the inverse"] == times(steps["q r"], steps["inverse of q"]),
}
for name, holds in lines.items():
    print("✔" if holds else "✘ look again:", name)

# %% [markdown] tags=["blur"]
# Now answer with the three coordinates of the point.

# %% tags=["blur"]
# BEGIN SOLUTION
answer = (-1, 0, 0)
# END SOLUTION
check("U19.1", answer)

# %% [markdown] tags=["blur", "solution"]
# 1. $q = \cos 90° + \sin 90°\,k = k$.
# 2. $k\cdot k=-1$, so $q^{-1} = -k$.
# 3. $k\,i\,(-k)$: the table says $k\,i = j$, so it is $j\,(-k) = -(j\,k) = -i$.
#
# So $r' = -i$, that is the point $(-1, 0, 0)$: yes, what the syllabus suspects. For $\theta=-180°$, $q=-k$ and $q^{-1}=k$; the two signs cancel, and the answer is the same, as it should be for a half turn.
#
# Ways to go wrong that are worth seeing once: $q\,r\,q$ instead of $q\,r\,q^{-1}$ gives $k\,i\,k = j\,k = +i$, and so does leaving out the half angle.

# %% [markdown] tags=["sharpen"]
# ### Exercise U19.3 · The axis that was too long
#
# The recipe says "about the axis $\langle q_x,q_y,q_z\rangle$". It does not say that the axis must have length one. Here is the recipe as code. What does it make of the point $(1,0,0)$, for the axis $(0,0,2)$ and 180°? First think, then run it, then repair it.
#
# Answer with a dictionary: `"broken"`, the point that the function as it stands returns; `"repaired"`, your function.

# %% tags=["sharpen"]


def multiply(p, q):
    """The product of two quaternions (w, x, y, z)."""
    a, b, c, d = p
    w, x, y, z = q
    return np.array(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ]
    )


def rotate(point, axis, angle):
    """The point turned by an angle (rad) about an axis; something is missing."""
    q = np.array([math.cos(angle / 2), *(math.sin(angle / 2) * np.asarray(axis, dtype=float))])
    inverse = q * [1, -1, -1, -1]
    return multiply(multiply(q, [0, *point]), inverse)[1:]


# %% tags=["sharpen"]
# BEGIN SOLUTION
def repaired(point, axis, angle):
    axis = np.asarray(axis, dtype=float)
    return rotate(point, axis / np.linalg.norm(axis), angle)


answer = {"broken": rotate((1, 0, 0), (0, 0, 2), math.pi), "repaired": repaired}
# END SOLUTION
check("U19.3", answer)

# %% [markdown] tags=["sharpen", "solution"]
# $q = 2k$, and its "inverse" by sign change is $-2k$: the result is $4\cdot k\,i\,(-k) = -4i$, the point $(-4,0,0)$. It is turned rightly and stretched by $|q|^2 = 4$. With a half turn the direction is still right; otherwise even that is wrong,
# because the scalar part did not grow: the axis $(1,1,0)$ with 90° has $|q|^2 = \cos^2 45° + 2\sin^2 45° = 1.5$.
#
# There are two repairs and they differ. Normalising the **axis** does what was meant. Using the true inverse $\bar q/|q|^2$, or normalising $q$ at the end, keeps lengths but turns by another angle, since too much weight sits on the axis.

# %% tags=["sharpen", "solution"]
for axis, degrees in (((0, 0, 2), 180), ((1, 1, 0), 90)):
    moved = rotate((1, 0, 0), axis, math.radians(degrees))
    print(f"axis {axis}, {degrees}°: {moved.round(4)}, length {np.linalg.norm(moved):.4f}")

# %% [markdown] tags=["sharpen"]
# ### Which form for which work?
#
# | | numbers | to apply to a vector | to compose | to average or draw at random |
# |---|---|---|---|---|
# | matrix | 9 | 9 products | 27 products | mend afterwards (SVD) |
# | quaternion | 4 | 15 to 32 products | 16 products | natural |
# | rotation vector | 3 | through a matrix | through another form | natural near a mean |
# | Euler angles | 3 | through a matrix | through a matrix | do not |
#
# So one *stores* quaternions or angles, *applies* matrices (one is used for ten thousand pixels, and a batch of them is a matrix product, which is what processors do best), *draws and averages* quaternions, and *refines* with rotation vectors: three
# numbers without constraint, and a derivative that exists everywhere. If $\omega$ is the angular velocity, $\dot q = \frac12\,\omega q$ for the quaternion and $\dot R = K_\omega R$ for the matrix.

# %% tags=["sharpen"]
start = geometry.random_rotations(1, generator=torch.Generator().manual_seed(8))[0]
omega, step = torch.tensor([0.4, -0.7, 1.1], dtype=torch.float64), 1e-6
later = geometry.matrix_from_rotation_vector(step * omega) @ start
quaternions = geometry.quaternion_from_matrix(torch.stack([start, later]))
slope = (quaternions[1] - quaternions[0]) / step
predicted = 0.5 * rotations.quaternion_product(torch.cat([torch.zeros(1, dtype=torch.float64), omega]), quaternions[0])
print(f"dq/dt by differences and by ½ωq differ by {float((slope - predicted).abs().max()):.1e}")
assert torch.allclose(slope, predicted, atol=1e-5)

# %% [markdown] tags=["blur"]
# ## The mean of orientations
#
# Three particles look along nearly the same direction; their longitudes are 178°, 180° and −179°. The mean of the numbers is 59.7°, a view from the other side of the molecule. Angles are names, and one does not average names.
#
# A mean that deserves the word minimises the sum of squared *distances*, where the distance of two orientations is the angle of the one turn that leads from one to the other. A quick one goes through quaternions, but look out for the signs.

# %% tags=["blur"]
longitudes = torch.tensor([178.0, 180.0, -179.0], dtype=torch.float64)
angles = torch.stack([longitudes, torch.full((3,), 60.0, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)], dim=-1)
three = geometry.matrix_from_euler(angles.deg2rad(), order="ZYZ").mT
naive = geometry.matrix_from_euler(angles.mean(0).deg2rad(), order="ZYZ").mT
proper = geometry.mean_rotation(three)
for name, mean in (("mean of the angles", naive), ("mean of the rotations", proper)):
    away = geometry.geodesic_distance(mean, three).rad2deg()
    print(f"{name:22s}: {away.mean():6.1f}° from the three, on average")
plain = geometry.quaternion_from_matrix(three) * torch.tensor([[1.0], [-1.0], [1.0]])
print(f"plain mean of quaternions, one with the other sign: length {plain.mean(0).norm():.2f} instead of 1")

# %% [markdown] tags=["blur"]
# In your own words (stored, not graded):

# %% tags=["blur"]
# BEGIN SOLUTION
my_words = (
    "Half angles: a full turn changes the sign of q, so copies may cancel. Take the largest eigenvector of the sum of q qT."
)
# END SOLUTION
explain("U19.words", my_words)

# %% [markdown] tags=["blur"]
# ## Even at random
#
# To test an algorithm one needs particles in *all* orientations, none favoured. Drawing the three Euler angles evenly does not do it. Why not? Count how many houses fit into the same ten degrees of latitude at the pole, and at the equator.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = 120
# END SOLUTION
# Two particles in random orientations: by what angle must one be turned, on average, to match the other? Guess, in degrees (0 to 180).
predict("U19.mean_angle", my_guess)

# %% tags=["blur"]
my_guess = prediction("U19.mean_angle")
source = torch.Generator().manual_seed(5)
count = 2000
uneven = torch.rand(count, 3, generator=source, dtype=torch.float64) * torch.tensor([360.0, 180.0, 360.0])
poses = {
    "Euler angles drawn evenly": geometry.matrix_from_euler(uneven.deg2rad(), order="ZYZ").mT,
    "rotations drawn evenly": geometry.random_rotations(count, generator=source),
}
figure = plt.figure(figsize=(9, 4))
for place, (title, drawn) in enumerate(poses.items(), start=1):
    axes = figure.add_subplot(1, 2, place, projection="3d")
    views = geometry.view_direction(drawn).numpy()
    near_side = views[views @ [0.41, -0.71, 0.57] > 0]
    axes.scatter(*near_side.T, s=4, color="C0", depthshade=False)
    axes.set_box_aspect((1, 1, 1), zoom=1.3)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), title=title)
    axes.set_axis_off()
    axes.view_init(elev=35, azim=-60)

# %% [markdown] tags=["blur"]
# *Figure U19.j. Two thousand view directions. Left: longitude, tilt and psi drawn evenly; the poles are crowded. Right: uniform. The remedy for the view is to draw $\cos t$ evenly; the remedy for the whole rotation is shorter: draw four Gaussian
# numbers and normalise them to a quaternion. A Gaussian cloud in four dimensions looks the same from every side, so the points on the sphere are spread evenly, and multiplying by a unit quaternion only turns that sphere.*
#
# Mathematicians call the even measure **Haar's**: it does not change when all rotations are turned by the same amount, from the left or from the right.

# %% [markdown] tags=["sharpen"]
# ### Exercise U19.7 · How far is random?
#
# What is the mean angle of a uniformly random rotation, in degrees? Simulate it or derive it; half a degree is near enough.

# %% tags=["sharpen"]
# BEGIN SOLUTION
drawn = np.random.default_rng(3).normal(size=(200_000, 4))
w = np.abs(drawn[:, 0]) / np.linalg.norm(drawn, axis=1)
answer = np.degrees(2 * np.arccos(w)).mean()
# END SOLUTION
check("U19.7", answer)

# %% [markdown] tags=["sharpen", "solution"]
# The quaternion is uniform on the three-dimensional sphere in four dimensions. With $w=\cos\frac\theta2$, the "parallel circle" at that $w$ is an ordinary sphere of radius $\sin\frac\theta2$, with area $\propto\sin^2\frac\theta2 = \frac12(1-\cos\theta)$. So the density of
# the angle is $p(\theta) = (1-\cos\theta)/\pi$ on $[0,\pi]$, and
# $$\langle\theta\rangle = \frac1\pi\int_0^\pi\theta(1-\cos\theta)\,\mathrm d\theta = \frac\pi2+\frac2\pi = 2.2074\ \text{rad} = 126.48°.$$
# Most orientations are *far* from any given one, and half turns are the commonest of all. A wrong pose is therefore, on average, wrong by 126°.

# %% tags=["sharpen"]
angles = rotations.rotation_angle(geometry.random_rotations(50_000, generator=torch.Generator().manual_seed(6))).rad2deg()
theta_axis = np.linspace(0, 180, 200)
figure, axes = plt.subplots(figsize=(6, 3.2))
axes.hist(angles.numpy(), bins=60, range=(0, 180), density=True, color="C0", alpha=0.6, label="50,000 rotations")
axes.plot(theta_axis, (1 - np.cos(np.radians(theta_axis))) / 180, "C1", lw=2, label="(1 − cos θ)/π")
axes.set(xlabel="angle of the rotation (°)", ylabel="density (1/°)")
axes.legend()
symbol = sympy.symbols("theta", positive=True)
exact = sympy.integrate(symbol * (1 - sympy.cos(symbol)) / sympy.pi, (symbol, 0, sympy.pi))
print(f"exact mean {exact} rad = {math.degrees(float(exact)):.2f}°, drawn mean {float(angles.mean()):.2f}°")
assert abs(float(angles.mean()) - math.degrees(float(exact))) < 0.5

# %% [markdown] tags=["sharpen"]
# *Figure U19.k. The angles of uniformly random rotations.*

# %% [markdown] tags=["blur"]
# ## A list of all orientations
#
# To find a particle's orientation, programs compare its image with the projections of a map in *every* orientation of a list (U22). The list must be even, and each entry must be divisible into finer ones, so that only the promising part
# is refined. HEALPix was made for maps of the cosmic background radiation: it divides the sphere into pixels of **equal area**, and each pixel into four. With in-plane angles of the same step it becomes a grid of orientations.


# %% tags=["blur"]
def draw_grid(order, marked):
    """The view directions of a HEALPix order on the globe, with one coarse pixel and what it splits into."""
    directions = so3_grid.healpix_directions(order).numpy()
    parents = np.arange(len(directions)) >> (2 * order)
    seen = directions @ [0.5, -0.6, 0.62] > -0.05
    figure = plt.figure(figsize=(5, 5))
    axes = figure.add_subplot(projection="3d")
    is_marked = parents == marked
    shown = {"s": 150 / 2**order, "depthshade": False}
    axes.scatter(*directions[seen & ~is_marked].T, c=parents[seen & ~is_marked], cmap="tab20", vmin=0, vmax=19, **shown)
    axes.scatter(*directions[seen & is_marked].T, color="k", **shown)
    longitude, height = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(-1, 1, 13))
    ring = np.sqrt(1 - height**2)
    axes.plot_wireframe(ring * np.cos(longitude), ring * np.sin(longitude), height, color="0.85", lw=0.4)
    axes.set_box_aspect((1, 1, 1), zoom=1.25)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    axes.set_axis_off()
    axes.view_init(elev=38, azim=-50)
    step = math.degrees(geometry.grid_spacing(order))
    axes.set_title(f"order {order}: {len(directions)} views, step {step:g}°, {geometry.grid_size(order):,} orientations")
    return figure


grid_view = exploration(draw_grid, order=Slider(0, 4, 2, label="order"), marked=Slider(0, 11, 3, label="base pixel"))
grid_view

# %% [markdown] tags=["blur"]
# *Figure U19.l. View directions of a HEALPix grid (the near side), coloured by the twelve base pixels; black: the descendants of one of them. Each order has four times as many views and twice as many in-plane angles: eight times as many orientations.*
#
# ### Exercise U19.8 · How many at 7.5°?
#
# RELION's default search has steps of 7.5°. How many orientations is that? Count them on the grid, or estimate: all rotations together have the volume $8\pi^2$, if a small step in each of the three directions is measured in radians.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
answer = 8 * math.pi**2 / math.radians(7.5) ** 3
# END SOLUTION
predict("U19.8", answer)

# %% tags=["blur"]
# BEGIN SOLUTION
answer = geometry.grid_size(3)
# END SOLUTION
check("U19.8", answer)

# %% [markdown] tags=["blur", "solution"]
# HEALPix order 3 has $12\cdot4^3=768$ views and $6\cdot2^3 = 48$ in-plane angles: $36{,}864$ orientations. The estimate $8\pi^2/(7.5°)^3$, with the step in radians, gives $35{,}200$: the sphere of views has area $4\pi$, the in-plane circle length $2\pi$, and
# their product is $8\pi^2$.

# %% tags=["blur"]
print(f"estimate 8π²/step³: {8 * math.pi**2 / math.radians(7.5) ** 3:,.0f}")
print("order  step (°)     views   orientations")
for order in range(8):
    print(f"{order:5d} {math.degrees(geometry.grid_spacing(order)):9.4f} {12 * 4**order:9,d} {geometry.grid_size(order):14,d}")
inside = {name: len(geometry.asymmetric_unit_pixels(3, name)) * 48 for name in ("C1", "D2", "O", "I")}
print("at 7.5° in the asymmetric unit:", ", ".join(f"{name} {number:,}" for name, number in inside.items()))

# %% [markdown] tags=["blur"]
# Two remarks with consequences. Halving the step costs a factor of **eight**, so nobody searches all orientations at 1°; one searches coarsely, and finely only where it is promising. And **symmetry saves**: a particle with $D_2$ symmetry looks the same in
# four orientations, $R$, $RS_1$, $RS_2$, $RS_3$, so a quarter of the views is enough. It also means that "the error of a pose" must be measured to the nearest of them:

# %% tags=["blur"]
truth = geometry.random_rotations(4, generator=torch.Generator().manual_seed(2))
operators = symmetry.symmetry_operators("D2")
equivalent = truth @ operators  # each particle described by another one of the four equivalent orientations
plain = geometry.geodesic_distance(truth, equivalent).rad2deg().numpy().round(1)
fair = geometry.distance_modulo_symmetry(truth, equivalent, "D2").rad2deg().numpy().round(1)
print("plain distances (°)          :", plain)
print("distances modulo symmetry (°):", fair)
assert fair.max() == 0

# %% [markdown] tags=["sharpen"]
# ### What is even about the grid?
#
# The first moments of Haar's measure are $\langle R\rangle=0$ and $\langle R_{ij}R_{kl}\rangle = \delta_{ik}\delta_{jl}/3$. A good grid has them too, far more exactly than as many random rotations; that is why a grid wins over random orientations in a search. And its
# cells nest: the eight children of a cell fill it. So the in-plane angle has to be counted from a frame that varies smoothly over a pixel. Euler's psi does not, near the poles (you have seen why); the library carries the frame over each base pixel without twist.

# %% tags=["sharpen"]
grid = so3_grid.so3_grid(2)
random = geometry.random_rotations(len(grid), generator=torch.Generator().manual_seed(12))
for name, matrices in (("grid", grid), ("random", random)):
    entries = matrices.flatten(1)
    first = float(entries.mean(0).abs().max())
    second = float((entries.T @ entries / len(entries) - torch.eye(9, dtype=torch.float64) / 3).abs().max())
    print(f"{name:7s} ({len(matrices)}): first moments off by {first:.1e}, second by {second:.1e}")
test = geometry.random_rotations(2000, generator=torch.Generator().manual_seed(13))
for name, matrices in (("grid", grid), ("random", random)):
    nearest = geometry.distance_matrix(test, matrices).amin(dim=1).rad2deg()
    print(
        f"{name:7s}: from anywhere to the nearest entry {float(nearest.mean()):.2f}° on average, {float(nearest.max()):.2f}° at worst"
    )
cells = so3_grid.so3_cells(3, test)
assert torch.equal(so3_grid.so3_parents(3, cells), so3_grid.so3_cells(2, test))

# %% [markdown]
# ## What to take with you
#
# - A rotation is one thing with many names. The names break (lock, wrapping, two signs); the thing does not.
# - Matrices apply, quaternions store and average, rotation vectors refine, Euler angles are for files.
# - Three numbers mean nothing without a convention. Test with an object that has no symmetry and angles that are not round; plot the views.
# - There are 36,864 orientations at 7.5°, and eight times as many at half the step. A wrong pose is wrong by 126° on average.
#
# **Next.** U20 asks for values between the samples, and U21 puts both together: every image is a slice of the Fourier transform of the map, and its matrix says which.
#
# **Further reading (never needed for an exercise).** J. R. Quine, *Mathematical Techniques in Structural Biology*, chapter 4. G. G. Slabaugh, *Computing Euler angles from a rotation matrix*. The interactive quaternion videos at
# [eater.net/quaternions](https://eater.net/quaternions). M. Heymann, M. Chagoyen and D. Belnap, *Common conventions for interchange and archiving of three-dimensional electron microscopy information*, J. Struct. Biol. 151 (2005). K. M. Górski et al., *HEALPix*, Astrophys. J. 622 (2005).
# The pre-reading of the group's two meetings also had: spherical coordinates (Omega Open Course; A. Dotson), Euler angles and rotation matrices (Wikipedia), axis and angle, and Hamilton's numbers by stereographic projection.
