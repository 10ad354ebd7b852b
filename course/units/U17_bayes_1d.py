# %% [markdown]
# # U17 Bayes, priors and alignment in one dimension
#
# **Question.** You have 600 pictures of the same thing, each moved by an amount that nobody wrote down, each drowned in noise. How do you get the thing out, and what do you *know* when you have it?
#
# **What you need.** U03 (shifts, spectra) and U08 (noise). For *sharpen*: conditional probability, derivatives, U05 (Wiener's filter is met again here).
#
# **What you will be able to do.**
#
# - write down a posterior over what is unknown in an image, with a prior, and compute it without overflow;
# - say when to trust the best shift, and when to average over all shifts;
# - learn the signal *and* the noise by expectation maximisation, and know why its likelihood cannot fall (*sharpen*);
# - read a penalty in a loss function as a prior, and a prior as a penalty (*sharpen*);
# - predict what noise does in real space and in Fourier space when it is not the same everywhere (*sharpen*).
#
# About 75 minutes. It is one dimension all through: the algebra of 2D classes (U18) and of refinement (U22) is this algebra, with rotations beside the shifts.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

import cryowalk as cw
from cryowalk import inference, microscope
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u17 import LENGTH, images, likeness, power_spectrum, signal, variance_map

torch.set_num_threads(1)
place = np.arange(LENGTH)

# %% [markdown] tags=["blur"]
# ## One noisy image
#
# Here is a *signal* of 48 samples, on a ring: what leaves on the right comes back on the left. Below it is one image of it: moved by a shift, plus noise. **By how much was it moved?** Guess before you read on.

# %% tags=["blur"]
truth = signal()
first, first_shift = images(1, 1.4, seed=11)
figure, axes = plt.subplots(2, 1, figsize=(8, 3.6), sharex=True, layout="constrained")
axes[0].plot(place, truth, "C0")
axes[0].set(ylabel="signal")
axes[1].plot(place, first[0], "0.35", drawstyle="steps-mid")
axes[1].set(xlabel="x (samples)", ylabel="one image")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U17.a. A signal, and one image of it with as much noise as is kind.*
#
# Not knowing is not the same as knowing nothing. For *each* shift $s$ we can ask: how probable is it that noise alone makes up the difference between the image $x$ and the moved signal $T_s A$? If the noise is Gaussian with standard deviation $\sigma$ in each sample,
# $$ p(x \mid s) \propto \exp\!\Big(-\frac{|x - T_sA|^2}{2\sigma^2}\Big), \qquad p(s \mid x) = \frac{p(x\mid s)\,p(s)}{\sum_{s'} p(x\mid s')\,p(s')} . $$
# The second is Bayes' rule. $p(s)$ is the **prior**: what we believed of the shift before we saw the image. $p(s\mid x)$ is the **posterior**: what we believe now. Picked particles sit near the middle of their boxes, so a bell around 0 is a good prior for their shifts.

# %% tags=["blur"]
around = (place + LENGTH // 2) % LENGTH - LENGTH // 2  # −24 … 23: how far a shift is from none
clean_shift = 9


def draw_posterior(noise, prior_width):
    """Likelihood, prior and posterior of the shift of one image."""
    generator = np.random.default_rng(3)
    image = np.roll(truth, clean_shift) + noise * generator.normal(size=LENGTH)
    distance = np.array([((image - np.roll(truth, shift)) ** 2).sum() for shift in place])
    likelihood = np.exp(-(distance - distance.min()) / (2 * noise**2))
    prior = np.exp(-(around**2) / (2 * prior_width**2))
    posterior = likelihood * prior / (likelihood * prior).sum()
    order = np.argsort(around)
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 3.6), layout="constrained")
    axes[0].plot(place, image, "0.35", drawstyle="steps-mid", label="image")
    axes[0].plot(place, np.roll(truth, place[posterior.argmax()]), "C3", label="signal, moved by the most probable shift")
    axes[0].legend(fontsize=8, loc="upper right")
    axes[0].set(xlabel="x (samples)", ylim=(-6, 9))
    axes[1].bar(around[order], posterior[order], color="C0", label="posterior")
    axes[1].plot(around[order], prior[order] / prior.sum(), "C1", label="prior")
    axes[1].plot(around[order], likelihood[order] / likelihood.sum(), "k.", ms=4, label="likelihood, scaled")
    axes[1].axvline(clean_shift, color="C2", ls=":", label="true shift")
    axes[1].set(xlabel="shift (samples)", ylabel="probability", ylim=(0, None))
    axes[1].legend(fontsize=8, loc="upper left")
    return figure


posterior_bars = exploration(
    draw_posterior,
    noise=Slider(0.3, 6.0, 2.0, step=0.1, label="noise σ (the signal's is 1)"),
    prior_width=Slider(2.0, 60.0, 60.0, step=1.0, label="width of the prior (samples)"),
)
posterior_bars

# %% [markdown] tags=["blur"]
# *Figure U17.b. Posterior bars. With little noise one bar stands alone, whatever the prior. With much noise several shifts remain possible, and the prior decides among them. With very much noise the posterior is the prior: the image has told nothing.*
#
# Try it: a narrow prior at σ = 2 or 3. **A prior can be wrong**, and then it is wrong everywhere at once; weak data cannot argue with it.
#
# <a id="Q-M10-1"></a>
# ## What else is uncertain?
#
# The study group read Eddy's primer, which ends: *"Using Bayesian methods, we can instead integrate over varying degrees of uncertainty in different aspects of the analysis."* And asked: *What is uncertain in the different aspects of cryo-EM analysis? What would be good priors? In practice, do people take the uncertainty into account, or use point estimates? Why?*
#
# ### Exercise U17.1 · The table of ignorance
#
# Walk from the specimen to the map and write down eight things that are not known exactly. Say of each how programs treat it, as far as you know: `"averaged over"`, `"one best value"` or `"assumed"`. (The shift of each particle is one; you may begin with it.)

# %% tags=["blur"]
my_table = {
    # "what is uncertain": "averaged over", "one best value" or "assumed"
}
# BEGIN SOLUTION
my_table = {
    "orientation of each particle": "averaged over",
    "shift of each particle": "averaged over",
    "class or conformation": "averaged over",
    "defocus of each image": "one best value",
    "scale of each image, pixel size": "one best value",
    "noise at each frequency": "one best value",
    "the map": "one best value",
    "the imaging model, symmetry": "assumed",
}
# END SOLUTION
check("U17.1", my_table)

# %% [markdown] tags=["solution", "blur"]
# | what is uncertain | in practice | a good prior |
# |---|---|---|
# | orientation of each particle | averaged over (early rounds), then nearly one value | uniform on rotations; a bell around the last value in local searches; von Mises–Fisher where views are preferred |
# | shift of each particle | averaged over | Gaussian around the centre of the pick, some Å wide |
# | class, conformation | averaged over | class weights, with a Dirichlet prior against empty classes; a Gaussian on latent coordinates |
# | defocus, astigmatism | one best value | Gaussian around the micrograph's value, some 100 Å wide |
# | scale, contrast, pixel size | one best value | near 1; Gaussian on the logarithm |
# | noise at each frequency | one best value, learnt | smooth in frequency (averaged over shells) |
# | the map | one best value | Gaussian on its Fourier coefficients with a falling power spectrum |
# | the model: one scattering, one particle in the box, the symmetry | assumed | — |
#
# The reason is cost against gain. Where posteriors are *wide* (orientations at low resolution) a single choice does damage, as you will see; where thousands of images share one unknown (a noise spectrum, a map) its posterior is so narrow that one value loses nothing.

# %% [markdown] tags=["blur"]
# **In your own words.** Do people take these uncertainties into account, or one value? Why?

# %% tags=["blur"]
# BEGIN SOLUTION
my_text = (
    "Programs average over the orientation of each particle, because a wrong choice copies the reference into the noise; "
    "defocus and noise get one value, since their posteriors are sharp and averaging has a cost."
)
# END SOLUTION
explain("U17.words", my_text)

# %% [markdown] tags=["blur"]
# ## Best shift, or all shifts?
#
# Now we have many images and want the signal. Two recipes, each repeated round by round from a reference:
#
# - **best shift**: move every image back by its most probable shift, and average;
# - **all shifts**: move every image back by *every* shift, each copy weighted by its probability, and average.
#
# ### Exercise U17.4 · At a signal-to-noise ratio of 0.05
#
# The noise has 20 times the variance of the signal (a good particle image is about there). 1,000 images. To be kind, both recipes start from the truth. Which ends nearer to the truth, in mean squared error? `"best shift"`, `"all shifts"` or `"the same"`?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_choice = "all shifts"
# END SOLUTION
predict("U17.4", my_choice, options=("best shift", "all shifts", "the same"))


# %% tags=["blur"]
def moved_back(observed, weights):
    """The mean over images of the copies moved back by each shift, weighted."""
    return sum(weights[:, shift] @ np.roll(observed, -shift, axis=1) for shift in place) / len(observed)


def distances(observed, reference):
    """The squared distance of each image from the reference moved by each shift."""
    rolled = np.stack([np.roll(reference, shift) for shift in place])
    return (observed**2).sum(axis=1)[:, None] + (rolled**2).sum(axis=1) - 2 * observed @ rolled.T


def one_round(observed, reference, noise, *, recipe):
    """The weights of all shifts, and the new reference."""
    distance = distances(observed, reference)
    least = distance.min(axis=1, keepdims=True)
    weights = np.exp(-(distance - least) / (2 * noise**2)) if recipe == "all shifts" else (distance == least) * 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    return weights, moved_back(observed, weights)


def squared_error(reference):
    """Mean squared error to the truth after the best common shift, which nobody can know."""
    return min(float(((np.roll(reference, shift) - truth) ** 2).mean()) for shift in place)


ratios = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
errors = {"best shift": [], "all shifts": []}
ends = {}
for ratio in ratios:
    noise = ratio**-0.5
    observed, _ = images(1000, noise, seed=5)
    for recipe, found in errors.items():
        reference = truth.copy()
        for _ in range(12):
            _, reference = one_round(observed, reference, noise, recipe=recipe)
        found.append(squared_error(reference))
        ends[recipe, ratio] = reference
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 3.8), layout="constrained")
for (recipe, found), colour in zip(errors.items(), ("C3", "C0"), strict=True):
    left.loglog(ratios, found, colour + "o-", label=recipe)
    right.plot(place, ends[recipe, 0.05], colour, label=recipe)
left.axhline(1, color="0.7", ls=":")
left.set(xlabel="signal-to-noise ratio of an image", ylabel="mean squared error (signal's variance: 1)")
left.legend()
right.plot(place, truth, "k--", lw=1, label="truth")
right.set(xlabel="x (samples)", title="at 0.05, after 12 rounds")
right.legend(fontsize=8)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U17.c. Left: the error of both recipes. Right: what they make of the images at 0.05.*

# %% tags=["blur"]
my_choice = prediction("U17.4")
at = ratios.index(0.05)
print(
    f"you said {my_choice}; the error is {errors['best shift'][at]:.2f} with best shifts, {errors['all shifts'][at]:.2f} with all shifts"
)
assert all(b > a for r, b, a in zip(ratios, errors["best shift"], errors["all shifts"], strict=True) if r <= 0.1)
check("U17.4", my_choice)

# %% [markdown] tags=["solution", "blur"]
# **All shifts.** With best shifts the result is far too *strong*: each image was moved to where its own noise looks most like the reference, so that the noise adds up in its shape. It is Einstein from noise (U16) inside an honest data set. Averaging over all shifts admits that the shift is not known; what is lost is spread evenly and does no harm. Where one bar of the posterior stands alone, both are the same: at high signal to noise the curves meet.

# %% [markdown] tags=["sharpen"]
# ## The E-step, in logarithms
#
# How improbable is a perfectly good image? With 48 samples and σ = 0.1, $|x-T_sA|^2/2\sigma^2$ is about 24 at the true shift and some 4,800 at others. With a reference that is not yet right, as in any early round, it is thousands *everywhere*; and $e^{-800}$ is zero in a computer. Then all bars are zero, and dividing by their sum gives nothing at all. So one never leaves the logarithm until the end:
# $$ \log p(s\mid x) = \ell_s - \log\sum_{s'} e^{\ell_{s'}}, \qquad \log\sum e^{\ell} = \ell_{\max} + \log\sum e^{\ell-\ell_{\max}} . $$

# %% tags=["sharpen"]
bright, _ = images(3, 0.1, seed=1)
log_terms = -distances(bright, 0.3 * truth) / (2 * 0.1**2)
print(
    f"log-likelihoods of the first image: from {log_terms[0].min():.0f} to {log_terms[0].max():.0f}; the largest exp of them: {np.exp(log_terms[0]).max()}"
)

# %% [markdown] tags=["sharpen"]
# ### Exercise U17.2 · A posterior that does not overflow
#
# Write `posterior(observed, reference, sigma, log_prior)`: for each image (row) the probability of each shift $s = 0\dots N-1$, where shift $s$ means that the image is the reference rolled by $+s$. It is tried at signal-to-noise ratios from 0.05 to 100.


# %% tags=["sharpen"]
def posterior(observed, reference, sigma, log_prior):
    """Probabilities of all shifts, one row for each image."""
    # BEGIN SOLUTION
    logarithm = -distances(observed, reference) / (2 * sigma**2) + log_prior
    logarithm = logarithm - logarithm.max(axis=1, keepdims=True)
    powers = np.exp(logarithm)
    return powers / powers.sum(axis=1, keepdims=True)
    # END SOLUTION


check("U17.2", posterior)

# %% [markdown] tags=["sharpen"]
# ## Learning signal and noise together
#
# So far we were told σ, and started from the truth. Now neither. We want the $A$ and σ that make the *data* most probable, with all shifts averaged out:
# $$ L(A,\sigma) = \sum_i \log \frac1N\sum_s \frac{1}{(2\pi\sigma^2)^{N/2}}\exp\!\Big(-\frac{|x_i-T_sA|^2}{2\sigma^2}\Big) . $$
# The sum inside the logarithm is the trouble: its derivative couples everything. **Expectation maximisation** goes round it. For *any* weights $w_{is}$ that add up to 1 over $s$, Jensen's inequality (the logarithm of an average is at least the average of logarithms) gives
# $$ L \ge \sum_{is} w_{is}\Big(\log\frac{p(x_i,s\mid A,\sigma)}{w_{is}}\Big) =: Q(w, A,\sigma) . $$
#
# - **E**: for fixed $A,\sigma$ the bound is highest, and touches $L$, at $w_{is}=p(s\mid x_i)$: the posterior.
# - **M**: for fixed $w$ the bound is an ordinary weighted least-squares problem. Setting derivatives to zero,
# $$ A = \frac1M\sum_{is} w_{is}\,T_{-s}x_i, \qquad \sigma^2 = \frac1{MN}\sum_{is} w_{is}\,|x_i - T_sA|^2 . $$
#
# E lifts the bound to touch $L$; M lifts the bound. So **$L$ cannot fall**. (It can stop at a local maximum. And it does not say that your model is right.)
#
# ### Exercise U17.3 · Expectation maximisation
#
# Write `maximise(observed, start, sigma, rounds)`: it returns the reference, σ, and the list of $L$ *before* each round's update. It is tried on 800 images with σ = 2.00 (signal-to-noise ratio ¼), from half of one noisy image and σ = 3, for 50 rounds.


# %% tags=["sharpen"]
def maximise(observed, start, sigma, rounds):
    """Reference, noise and log-likelihoods of expectation maximisation over shifts."""
    # BEGIN SOLUTION
    reference, told = start, []
    for _ in range(rounds):
        logarithm = -distances(observed, reference) / (2 * sigma**2) - LENGTH * math.log(sigma * math.sqrt(2 * math.pi))
        top = logarithm.max(axis=1, keepdims=True)
        powers = np.exp(logarithm - top)
        total = powers.sum(axis=1, keepdims=True)
        told.append(float((top + np.log(total / LENGTH)).sum()))
        weights = powers / total
        reference = moved_back(observed, weights)
        sigma = math.sqrt((weights * distances(observed, reference)).sum() / observed.size)
    return reference, sigma, told
    # END SOLUTION


check("U17.3", maximise)

# %% tags=["sharpen"]
# BEGIN SOLUTION
mine, _ = images(800, 2.0, seed=parameters("U17.3")["data"])
found, learnt, told = maximise(mine, mine[0] / 2, 3.0, 50)
print(f"σ = {learnt:.3f}, correlation with the truth {likeness(found, truth):.3f}, L from {told[0]:.0f} to {told[-1]:.0f}")
assert abs(learnt - 2) < 0.05
assert likeness(found, truth) > 0.95
assert min(np.diff(told)) > -1e-6 * abs(told[0])
# END SOLUTION

# %% [markdown] tags=["blur"]
# ## Round by round
#
# Here is the whole procedure, with a slider for the round. It begins with the first image itself as the reference and knows neither the signal nor the noise. Watch the rows of the picture on the right, one for each image: what each believes of its own shift.

# %% tags=["blur"]
stepped, true_shifts = images(400, 1.8, seed=21)
rows = np.argsort(true_shifts[:60])
history = []
guess, level = stepped[0] / 2, 3.0
for _ in range(31):
    distance = distances(stepped, guess)
    weights, updated = one_round(stepped, guess, level, recipe="all shifts")
    lowest = distance.min(axis=1)
    score = np.log(np.exp(-(distance - lowest[:, None]) / (2 * level**2)).mean(axis=1)) - lowest / (2 * level**2)
    history.append((guess, level, weights[:60], float(score.sum()) - stepped.size * math.log(level * math.sqrt(2 * math.pi))))
    guess, level = updated, math.sqrt((weights * distances(stepped, updated)).sum() / stepped.size)
common = max(range(LENGTH), key=lambda shift: np.roll(history[-1][0], shift) @ truth)


def draw_round(number):
    """The reference, the responsibilities and the likelihood at one round."""
    reference, noise, weights, _ = history[number]
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), width_ratios=(1.3, 1.2, 1), layout="constrained")
    axes[0].plot(place, truth, "k--", lw=1, label="truth")
    axes[0].plot(place, np.roll(reference, common), "C0", label="reference")
    axes[0].set(xlabel="x (samples)", title=f"round {number}: σ = {noise:.2f} (1.80)", ylim=(-3.2, 4.2))
    axes[0].legend(fontsize=8)
    axes[1].imshow(np.roll(weights, -common, axis=1)[rows], aspect="auto", cmap="magma", vmin=0, vmax=0.6)
    axes[1].set(xlabel="shift (samples)", ylabel="60 images, by their true shift", title="responsibilities")
    axes[2].plot([one[3] for one in history], "C0.-")
    axes[2].plot(number, history[number][3], "C3o")
    axes[2].set(xlabel="round", title="log-likelihood of the data")
    return figure


stepper = exploration(draw_round, number=Slider(0, 30, 2, step=1, label="round"))
stepper

# %% [markdown] tags=["blur"]
# *Figure U17.d. The stepper. At first every row is smeared out: no image knows its shift. As the reference improves, a diagonal appears (the rows are sorted by the true shift, which the program never sees). The likelihood only rises. The truth is drawn at the place where the final reference lies: the origin of an average is nobody's.*

# %% [markdown] tags=["sharpen"]
# <a id="Q-M10-4"></a>
# ## A prior is a penalty
#
# *How does a prior affect the log loss function? What functional forms of the priors are convenient for optimization, and what is their interpretation in terms of probability?*
#
# Bayes' rule in logarithms, with a minus: $-\log p(A\mid x) = -\log p(x\mid A) - \log p(A) + \text{const}$. The **loss is a sum**, and the prior is the second term. A flat prior adds nothing; a Gaussian adds a square, a Laplace prior a modulus, a smoothness prior the square of a difference. Take one number $a$, measured as $y = h\,a + \text{noise}$ ($h$ might be a CTF):
# $$ \text{loss}(a) = \frac{(y-ha)^2}{2\sigma^2} \;-\; \log p(a) . $$

# %% tags=["sharpen"]
axis = np.linspace(-2.5, 4, 1301)
PENALTIES = {
    "flat": lambda a, width: 0 * a,
    "Gaussian (width τ)": lambda a, width: a**2 / (2 * width**2),
    "Laplace (width b)": lambda a, width: np.abs(a) / width,
    "positive only": lambda a, width: np.where(a < 0, np.inf, 0.0),
}


def draw_prior(prior, measured, width):
    """The loss of one number, without and with the prior's term, and where its minimum goes for every measurement."""
    data_term, extra = (measured - axis) ** 2 / 2, PENALTIES[prior](axis, width)
    loss = data_term + extra
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.7), layout="constrained")
    left.plot(axis, data_term, "0.6", label="data: (y − a)²/2σ²")
    left.plot(axis, np.where(np.isfinite(extra), extra, np.nan), "C1", label="prior: −log p(a)")
    left.plot(axis, np.where(np.isfinite(loss), loss, np.nan), "C0", lw=2, label="loss")
    left.plot(axis[loss.argmin()], loss.min(), "C3o")
    left.set(ylim=(-0.3, 7), xlabel="a", title=f"minimum at a = {axis[loss.argmin()]:.2f}")
    left.legend(fontsize=8, loc="upper center")
    values = np.linspace(-2.4, 3.9, 127)
    lowest = [axis[((y - axis) ** 2 / 2 + extra).argmin()] for y in values]
    right.plot(values, values, "0.7", ls=":")
    right.plot(values, lowest, "C0")
    right.plot(measured, axis[loss.argmin()], "C3o")
    right.set(xlabel="measured y", ylabel="most probable a")
    return figure


picker = exploration(
    draw_prior,
    prior=Choice(("Laplace (width b)", "Gaussian (width τ)", "flat", "positive only"), label="prior"),
    measured=Slider(-2.4, 3.9, 1.6, step=0.1, label="measured y (σ = 1)"),
    width=Slider(0.3, 4.0, 1.2, step=0.1, label="width of the prior"),
)
picker

# %% [markdown] tags=["sharpen"]
# *Figure U17.e. The prior picker. Left: what the prior adds to the loss. Right: the answer as a function of the measurement: in proportion smaller with a Gaussian; a constant smaller, down to exactly 0, with a Laplace prior.*
#
# ### Exercise U17.5 · Two priors, two filters
#
# Write as formulas: the terms that a Gaussian prior of standard deviation `tau` and a Laplace prior $\propto e^{-|a|/b}$ add to the loss (no constants); and the $a$ at the minimum: for the Gaussian with a factor `h`, for the Laplace prior with $h=1$. You may use `abs(x)`, `sign(x)` and `positive(x)`, which is $x$ where $x>0$ and 0 elsewhere; the variables are `a`, `y`, `h`, `sigma`, `tau`, `b`.

# %% tags=["sharpen"]
my_lines = {"Gaussian term": "", "Gaussian minimum": "", "Laplace term": "", "Laplace minimum": ""}
# BEGIN SOLUTION
my_lines = {
    "Gaussian term": "a^2/(2*tau^2)",
    "Gaussian minimum": "h*y*tau^2/(h^2*tau^2 + sigma^2)",
    "Laplace term": "abs(a)/b",
    "Laplace minimum": "sign(y)*positive(abs(y) - sigma^2/b)",
}
# END SOLUTION
check("U17.5", my_lines)

# %% [markdown] tags=["solution", "sharpen"]
# **Gaussian.** $-h(y-ha)/\sigma^2 + a/\tau^2 = 0$ gives $a = \dfrac{h\,y}{h^2+\sigma^2/\tau^2}$. With one such equation for each frequency, $h$ the CTF, $\tau^2$ the signal's power and $\sigma^2$ the noise's, it is **Wiener's filter** (U23), and what RELION does to every shell of every reference. In statistics it is ridge regression, in numerics Tikhonov regularisation.
#
# **Laplace.** For $a>0$: $(a-y)/\sigma^2+1/b=0$, so $a=y-\sigma^2/b$, as long as that is positive; mirrored for $a<0$; 0 between: the **soft threshold**, which sets small coefficients to exactly zero (LASSO, wavelet denoising).
#
# **Convenient forms.** Squares keep the problem linear: one division, or conjugate gradients. Moduli keep it convex and make it sparse. Conjugate priors keep the posterior in the family: Gaussian for coefficients and shifts, Dirichlet for class weights (adding a few imaginary particles to each class), inverse gamma for noise variances, von Mises–Fisher for directions. Positivity is a prior, too: $-\log 0 = \infty$.
#
# The same number, by minimising the loss without the formula:

# %% tags=["sharpen"]
generator = np.random.default_rng(8)
transfer = np.cos(0.3 * place + 0.5)  # a factor for each of 48 coefficients
power = 4 / (1 + (place / 6) ** 2)
measured = transfer * np.sqrt(power) * generator.normal(size=LENGTH) + 0.7 * generator.normal(size=LENGTH)
by_filter = transfer * measured * power / (transfer**2 * power + 0.7**2)
stacked = np.concatenate([np.diag(transfer / 0.7), np.diag(1 / np.sqrt(power))])  # the loss as one sum of squares
by_least_squares = np.linalg.lstsq(stacked, np.concatenate([measured / 0.7, np.zeros(LENGTH)]), rcond=None)[0]
difference = np.abs(by_filter - by_least_squares).max()
print(f"Wiener's filter and regularised least squares differ by {difference:.1e}")
assert difference < 1e-10

# %% [markdown] tags=["sharpen"]
# <a id="Q-M10-5"></a>
# ## Noise that is not the same everywhere
#
# *What happens for iid Gaussian additive noise that is radially dependent in Fourier space, or pixel dependent in real space?*
#
# The question hides a contradiction, and that is its point. **iid** means: every sample independent of the others, and distributed alike. Such noise is white. Its orthonormal transform is white again: each coefficient has variance $\sigma^2$, half of it in the real and half in the imaginary part (but all in the real part at zero frequency and at Nyquist, which are real); different coefficients are independent, but for $F_{-k}=\overline{F_k}$.
#
# - A variance that depends on **frequency** gives noise that is alike at all places and *correlated* between them.
# - A variance that depends on the **pixel** gives independent pixels, and *correlated* Fourier coefficients.
#
# A transform is linear, so Gaussian noise stays Gaussian in both spaces. Independence survives in only one of them, unless the noise is white.

# %% tags=["sharpen"]
wave = np.exp(-2j * np.pi * np.outer(place, place) / LENGTH) / math.sqrt(LENGTH)  # the orthonormal transform, as a matrix
KINDS = ("white", "differs by pixel", "differs by frequency")


def noise_of(kind, count, *, seed=0):
    """Draws of noise of one kind, one in each row."""
    white = np.random.default_rng(seed).normal(size=(count, LENGTH))
    if kind == "differs by pixel":
        return white * np.sqrt(variance_map())
    if kind == "differs by frequency":
        return ((white @ wave.T) * np.sqrt(power_spectrum()) @ wave.conj()).real
    return white


def draw_covariance(kind, draws):
    """One draw, and the covariance matrices of many, in both spaces."""
    noise = noise_of(kind, int(draws))
    spectra = noise @ wave.T
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.9), width_ratios=(1.2, 1, 1), layout="constrained")
    axes[0].plot(place, noise[:3].T, lw=1)
    axes[0].set(xlabel="x (samples)", title=f"three draws: {kind}", ylim=(-4.5, 4.5))
    axes[1].imshow(noise.T @ noise / len(noise), cmap="RdBu", vmin=-1.5, vmax=1.5)
    axes[1].set(title="covariance of samples", xlabel="x", ylabel="x")
    axes[2].imshow(np.abs(spectra.T @ spectra.conj())[:25, :25] / len(noise), cmap="magma", vmin=0, vmax=1.5)
    axes[2].set(title="|covariance| of coefficients", xlabel="k", ylabel="k")
    return figure


covariances = exploration(
    draw_covariance,
    kind=Choice(("differs by pixel", "differs by frequency", "white"), label="noise"),
    draws=Slider(20, 5000, 2000, step=20, label="draws"),
)
covariances

# %% [markdown] tags=["sharpen"]
# *Figure U17.f. The covariance viewer. A diagonal matrix means independence. Noise that differs by pixel is diagonal in real space only, noise that differs by frequency in Fourier space only; white noise in both.*

# %% tags=["sharpen"]
spectra = noise_of("white", 20000, seed=4) @ wave.T
print("variance of real part   ", spectra.real.var(axis=0)[[0, 1, 5, 23, 24]].round(2), " at k = 0, 1, 5, 23, 24")
print("variance of imaginary   ", spectra.imag.var(axis=0)[[0, 1, 5, 23, 24]].round(2))
assert np.allclose(spectra.real.var(axis=0)[1:24], 0.5, atol=0.03)
assert np.allclose(spectra.imag.var(axis=0)[[0, 24]], 0, atol=1e-12)

# %% [markdown] tags=["sharpen"]
# ### Exercise U17.6 · Independent pixels, correlated coefficients
#
# `variance_map()` is $v(x) = 1 + 0.8\cos(2\pi x/48)$. Write `fourier_covariance(variance, k, m)`: the expected value of $F_k\overline{F_m}$ for noise of mean 0 with variance $v(x)$ at $x$, all pixels independent, $F_k=N^{-1/2}\sum_x n(x)e^{-2\pi ikx/N}$. It is tried on other maps, too.


# %% tags=["sharpen"]
def fourier_covariance(variance, k, m):
    """The covariance of two Fourier coefficients."""
    # BEGIN SOLUTION
    x = np.arange(len(variance))
    return (variance * np.exp(-2j * np.pi * (k - m) * x / len(variance))).mean()
    # END SOLUTION


check("U17.6", fourier_covariance)

# %% tags=["sharpen"]
# BEGIN SOLUTION
spectra = noise_of("differs by pixel", 40000, seed=2) @ wave.T
measured_covariance = (spectra[:, 5] * spectra[:, 6].conj()).mean()
predicted = fourier_covariance(variance_map(), 5, 6)
print(f"Cov(F5, F6): predicted {predicted.real:.3f}, measured {measured_covariance.real:.3f}")
assert abs(measured_covariance - predicted) < 0.02
# END SOLUTION

# %% [markdown] tags=["sharpen"]
# ### Exercise U17.7 · Coloured noise in real space
#
# Now the other way. Noise has the power spectrum $S(k)=E|F_k|^2$ (in the order of $k = 0\dots N-1$), and its coefficients are independent. Write `autocovariance(power)`: the covariance of samples that lie $d = 0\dots N-1$ apart.


# %% tags=["sharpen"]
def autocovariance(power):
    """The covariance of samples at all distances."""
    # BEGIN SOLUTION
    k = np.arange(len(power))
    return (np.exp(2j * np.pi * np.outer(k, k) / len(power)) @ power).real / len(power)
    # END SOLUTION


check("U17.7", autocovariance)

# %% tags=["sharpen"]
# BEGIN SOLUTION
coloured = noise_of("differs by frequency", 40000, seed=3)
measured_lags = [(coloured * np.roll(coloured, -lag, axis=1)).mean() for lag in range(9)]
predicted_lags = autocovariance(power_spectrum())[:9]
print("predicted", predicted_lags.round(3))
print("measured ", np.round(measured_lags, 3))
assert np.abs(measured_lags - predicted_lags).max() < 0.02
# END SOLUTION

# %% [markdown] tags=["sharpen"]
# ## With the library
#
# Real noise is of the second kind: ice, detector and background make it different from shell to shell, and *nearly* independent from coefficient to coefficient. That is why likelihoods are computed in Fourier space: there, dividing each coefficient by its own σ makes the noise white, and the squared distance of this unit becomes $\sum_k |x_k - A_k|^2/2\sigma_k^2$. `inference.initial_noise` estimates σ² for each shell and optics group, per real component: half of $E|n_k|^2$, as above.

# %% tags=["sharpen"]
optics = cw.Optics(pixel_size=3.1)
asked = {"count": 200, "box": 48, "snr": 0.1, "noise": "ice", "defocus_range": (8e3, 12e3)}
particles, _ = microscope.simulate_particles(microscope.hinge(), optics, generator=cw.generator(12), **asked)
noise_model = inference.initial_noise(particles)
frequency = np.arange(noise_model.power.shape[1]) / (48 * 3.1)
figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.4), width_ratios=(1, 1.6), layout="constrained")
axes[0].imshow(particles.images.read([0])[0], cmap="gray")
axes[0].set(xticks=[], yticks=[], title="one of 200 images")
axes[1].semilogy(frequency[1:], noise_model.power[0, 1:], "C0.-")
axes[1].set(xlabel="spatial frequency (1/Å)", ylabel="σ² per real component")
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U17.g. Noise of simulated images, shell by shell. Not white, hence not independent from pixel to pixel; but diagonal in Fourier space.*
#
# ## What to take along
#
# - A posterior is likelihood times prior; it is computed in logarithms.
# - Where posteriors are wide, average over them: the best guess copies the reference into the noise.
# - EM: believe (E), average by belief (M), repeat; the likelihood of the data never falls. Signal and noise are learnt together.
# - A penalty is a prior, minus log. Gaussian: Wiener's filter. Laplace: soft threshold.
# - Noise that is not white is independent in at most one of the two spaces. Ours is (nearly) so in Fourier space.
#
# **To read.** Eddy, *Nat. Biotechnol.* 22, 1177 (2004), what Bayesian statistics is; Nelson, *Physical Models of Living Systems*, the chapter on single particles (2019), from which the plan of this unit comes; Sigworth, *J. Struct. Biol.* 122, 328 (1998), which brought maximum likelihood to the field; Scheres, *J. Mol. Biol.* 415, 406 (2012), the same with a Gaussian prior on the map.
