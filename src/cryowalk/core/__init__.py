"""The ground floor: conventions, constants, units, checks, errors and the protocols of execution; no arrays, no files."""
