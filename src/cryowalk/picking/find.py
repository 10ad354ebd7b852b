"""Where the particles of a micrograph are."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data.coordinates import Coordinates
from cryowalk.data.images import ImageStack, Micrograph
from cryowalk.picking.blobs import ScoreMap, blob_map
from cryowalk.picking.junk import blank_rim, junk_mask, rim_mask
from cryowalk.picking.network import PickingNetwork, network_map
from cryowalk.picking.peaks import peaks
from cryowalk.picking.search import Coarse, coarse_micrograph, levelled
from cryowalk.picking.settings import PickingSettings
from cryowalk.picking.templates import own_templates, template_map, templates_for
from cryowalk.picking.threshold import automatic_threshold, odds_threshold

SIGNIFICANT = 4.5  # standard deviations of white noise that a pick must reach where the threshold is automatic
FAINT = 4.0  # those of a blob near a pick of the network
_NEAR = 3  # coarse pixels
_EXCLUDED = -1e6


def find_particles(
    micrograph: Micrograph,
    settings: PickingSettings,
    *,
    templates: ImageStack | None = None,
    network: PickingNetwork | None = None,
) -> Coordinates:
    """The particles of a micrograph (protein dark), the best first, with figures of merit.

    The micrograph is made so coarse that the particle's radius is ten pixels, its local mean (over three radii) is taken away and extreme pixels are cut. The figure of
    merit of a place is its score in robust standard deviations of the score map, whatever the method. A pick is the best within `separation`, away from
    the border, not on carbon, ice crystals or a rim that was filled in, and above a threshold that the heights themselves suggest
    (`threshold.automatic_threshold`, for the network `threshold.odds_threshold`).

    `templates` are images of the particle, protein bright; without them, the method "template" averages its own from blobs (where these are
    fewer than twenty, the blobs are what is found). `network` is for the method "network" (`training.train_network`).

    Raises
    ------
    ShapeError
        If the field is too small for the diameter.
    InputError
        If the micrograph or a template has no contrast, or values that are not finite.
    UsageError
        If a setting cannot be meant, or the network is missing.
    """
    require_positive("diameter", settings.diameter, unit="Å")
    require_between("separation", settings.separation, 0.1, 5)
    coarse = coarse_micrograph(micrograph, diameter=settings.diameter)
    level = levelled(coarse)
    excluded = None
    if settings.exclude == "junk":
        margin = settings.margin * 2 * coarse.radius
        excluded = junk_mask(coarse) | rim_mask(coarse, blank_rim(micrograph.pixels.to(level)), margin=margin)
    found = _scored(coarse, level, excluded, settings, ways=(templates, network))
    rows, columns, merit = _picks(found, coarse, excluded, settings)
    return Coordinates(positions=coarse.in_micrograph(rows, columns).cpu(), merit=merit.double().cpu())


def _scored(
    coarse: Coarse,
    level: Float[Tensor, "h w"],
    excluded: Tensor | None,
    settings: PickingSettings,
    *,
    ways: tuple[ImageStack | None, PickingNetwork | None],
) -> ScoreMap:
    """The score map of the method."""
    templates, network = ways
    if settings.method == "network":
        if network is None:
            raise UsageError("the method network needs a network", fix="train one: cryowalk.picking.training.train_network")
        return _standing_out(network_map(network, level), blob_map(coarse, level, spread=settings.diameter_range))
    found = blob_map(coarse, level, spread=settings.diameter_range)
    if settings.method == "log":
        return found
    if templates is None:
        rows, columns, _ = _picks(found, coarse, excluded, settings)
        views = own_templates(level, rows, columns, radius=coarse.radius, classes=settings.classes)
    else:
        views = templates_for(templates, coarse)
    angles = max(1, round(360 / settings.angle_step_degrees))
    return found if views is None else template_map(coarse, level, views, angles=angles)


def _standing_out(found: ScoreMap, blobs: ScoreMap) -> ScoreMap:
    """The network's map without odds where no blob nearby stands out of white noise: on noise alone a network that expects particles sees some."""
    nearby = torch.nn.functional.max_pool2d(blobs.significance[None, None], 2 * _NEAR + 1, 1, _NEAR)[0, 0]
    return found._replace(significance=found.significance.masked_fill(nearby < FAINT, _EXCLUDED))


def _picks(
    found: ScoreMap, coarse: Coarse, excluded: Tensor | None, settings: PickingSettings
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Rows, columns and heights of the peaks above the threshold."""
    score = found.score if excluded is None else found.score.masked_fill(excluded, _EXCLUDED)
    diameter = 2 * coarse.radius
    least = 0.0 if settings.threshold is None else settings.threshold  # a place no better than the median is none
    rows, columns, merit = peaks(score, separation=settings.separation * diameter, margin=settings.margin * diameter, least=least)
    if settings.threshold is None:
        significance = found.significance[rows.round().long(), columns.round().long()]
        if settings.method == "network":
            kept = significance >= odds_threshold(significance)
        else:
            kept = significance >= SIGNIFICANT
            if bool(kept.any()):
                kept &= merit >= automatic_threshold(merit)
        rows, columns, merit = rows[kept], columns[kept], merit[kept]
    return rows, columns, merit
