"""Jobs: locked directories, manifests, checkpoints, signals, progress, executors, RELION's External-job contract."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AlreadyDone": "job",
        "Execution": "job",
        "FileCheckpoint": "checkpoint",
        "Job": "job",
        "WorkProgress": "progress",
        "executor": "executors",
        "open_job": "job",
        "read_job": "job",
        "settings_from": "settings_files",
        "stop_on_signals": "signals",
    },
)
