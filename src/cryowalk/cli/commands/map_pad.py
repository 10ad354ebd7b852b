"""`cryowalk map pad`: the same as `map crop`, under the name that one looks for when the box grows."""

from dataclasses import replace

from cryowalk.cli.commands.map_crop import COMMAND as CROP

COMMAND = replace(CROP, name="map pad", summary="Pad or crop a map; its origin follows.")
