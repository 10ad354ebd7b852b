"""The exercises of each unit, one module a unit; `cryowalk.course.exercise` finds them by name."""
