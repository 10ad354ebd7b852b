"""`cryowalk map multiply`: see cli.map_arithmetic."""

from cryowalk.cli.map_arithmetic import arithmetic

COMMAND = arithmetic("multiply")
