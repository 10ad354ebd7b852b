"""`cryowalk simulate movies`: movies of a sample in ice that moves and fades, with their truth."""

from cryowalk.cli.command import Command
from cryowalk.cli.commands.simulate_micrographs import MicrographFiles, chosen_sample, draw_again, with_mtf
from cryowalk.cli.context import Context
from cryowalk.microscope.micrograph_settings import MovieSimulationSettings


def run(files: MicrographFiles, settings: MovieSimulationSettings, context: Context) -> None:
    """Nothing; movies.star, particles.star, the movies, the gain reference and truth/ are in the output directory."""
    from cryowalk.cli.micrograph_reports import write_micrograph_report
    from cryowalk.microscope.simulate.drawing import check_settings
    from cryowalk.microscope.simulate.movies import check_movie_settings
    from cryowalk.workflow.microscope_stages import simulate_movie_files

    check_settings(settings)
    check_movie_settings(settings)
    with context.job(files, settings) as job:
        sources, optics = chosen_sample(files, settings.weights)
        camera = with_mtf(files, settings.camera)
        truths = simulate_movie_files(job, sources, optics, settings, seed=context.seed, camera=camera)
        write_micrograph_report(job.directory, job.manifest)
    context.say(
        f"{files.output / 'movies.star'}: {len(truths)} movies of {settings.frames} frames with {sum(map(len, truths))} particles"
    )


COMMAND = Command(
    name="simulate movies",
    summary="Simulate movies with their truth.",
    run=run,
    files=MicrographFiles,
    settings=MovieSimulationSettings,
    details="Writes movies/*, raw, as MRC, TIFF or EER, movies.star, which RELION imports, gain.mrc, particles.star, and truth/: for each movie its "
    "particles and its motion (*_motion.star), truth.json, and the potentials of the specimens.",
    report=draw_again,
)
