"""The nightly job of docs/schedulers.md in Airflow and in Prefect, on the sample. Run by `nox -s schedulers`.

The blocks are taken from the page as they stand; of `nightly.py` only the two addresses are replaced. Airflow loads
the DAG and the function of its task is called; Prefect runs the flow, with a server of its own in a temporary folder.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "schedulers.md"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        keep_to(folder)
        for name, code in blocks().items():
            (Path(folder) / f"{name}.py").write_text(code, encoding="utf-8")
        sys.path.insert(0, folder)
        in_airflow(importlib.import_module("in_airflow"))
        in_prefect(importlib.import_module("in_prefect"))


def keep_to(folder: str) -> None:
    """Both write to the folder only, and send nothing to their makers. To be said before they are imported."""
    os.environ.update(
        AIRFLOW_HOME=f"{folder}/airflow",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="false",
        PREFECT_HOME=f"{folder}/prefect",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        DO_NOT_TRACK="1",
    )


def blocks() -> dict[str, str]:
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    marks = {"nightly": "sys.exit(", "in_airflow": "from airflow", "in_prefect": "from prefect"}
    chosen = {name: next(code for code in found if mark in code) for name, mark in marks.items()}
    job = chosen["nightly"].replace('Bucket("s3://acme-kissmetrics", profile="analytics")', "Bucket.sample()")
    chosen["nightly"] = job.replace('"s3://acme-lake/kissmetrics", profile="lake"', 'f"{__file__}-lake"')
    assert "s3://" not in chosen["nightly"], "the addresses of the page have changed"
    return chosen


def in_airflow(module: ModuleType) -> None:
    import airflow

    dag = module.kissmetrics()
    (task,) = dag.tasks
    assert (dag.schedule, dag.catchup, dag.max_active_runs, task.retries) == ("30 3 * * *", False, 1, 3)
    assert task.python_callable() == []
    print(f"Airflow {airflow.__version__}: {dag.dag_id}, task {task.task_id}: no problems")


def in_prefect(module: ModuleType) -> None:
    import prefect

    deployment = module.kissmetrics.to_deployment(name="nightly", cron="30 3 * * *")
    assert deployment.entrypoint.endswith(":kissmetrics"), deployment.entrypoint
    assert module.kissmetrics() == []
    print(
        f"Prefect {prefect.__version__}: {deployment.flow_name}, {deployment.schedules[0].schedule.cron}: no problems"
    )


if __name__ == "__main__":
    main()
