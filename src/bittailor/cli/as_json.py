"""What `--json` prints: the same facts as the tables, every digit, for other programs. Names are those of run.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from bittailor.cost import account
from bittailor.evaluate.evaluator import OBJECTIVES
from bittailor.evaluate.metrics import METRICS
from bittailor.runs import Run, Solution
from bittailor.runs.frames import names_of
from bittailor.tasks import TASKS


def text_of(value: Any) -> str:
    """JSON for people and programs."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def of_run(run: Run) -> dict[str, Any]:
    """The front, baselines, picks and retrained solutions of a run, and what was confirmed."""
    result = run.result
    keys = ("objectives", "engine", "finished", "items", "seconds", "evaluations", "failed", "interrupted", "message",
            "float", "hypervolume", "certificate")
    names = run.named
    return {"run": str(run.path), "title": run.title, "task": run.spec.task.name,
            "metric": {"name": run.metric.name, "title": run.metric.title, "unit": run.metric.unit,
                       "maximise": run.metric.maximise},
            **{key: result[key] for key in keys}, "holds": run.holds,
            "picks": {pick: next(name for name, s in names.items() if names_of(s, {pick: found}))
                      for pick, found in run.picks.items()},
            "solutions": {name: _solution(run, s) for name, s in names.items()}}


def _solution(run: Run, s: Solution) -> dict[str, Any]:
    return {**s.to_json(), "picks": names_of(s, run.picks)}


def of_solution(run: Run, solution: Solution) -> dict[str, Any]:
    """One solution: the format of every site, and its account of bytes."""
    plan, program = run.plan(solution), run.program(solution)
    sites = {}
    for site in run.network.graph.free:
        fmt = plan.formats[site.name]
        sites[site.name] = {"role": site.role, "shape": list(site.shape), "bits": fmt.bits, "scale": list(fmt.scale),
                            "zero_point": fmt.zero_point}
    items = account(program)
    return {"run": str(run.path), **_solution(run, solution), "sites": sites,
            "stored": {**asdict(items), "total": items.total}, "operators_of_64_bits": list(program.wide())}


def of_objectives() -> list[dict[str, Any]]:
    """Everything that a search can improve or limit."""
    return [{"name": o.name, "unit": o.unit, "title": o.title, "maximise": o.maximise,
             "platform": o.platform.name if o.platform else None} for o in OBJECTIVES.values()]


def of_tasks(name: str | None = None) -> list[dict[str, Any]]:
    """Every task, or one."""
    wanted = TASKS.values() if name is None else [TASKS[name]]
    return [{"name": t.name, "title": t.title, "metric": t.metric, "unit": METRICS[t.metric].unit, "inputs": t.inputs,
             "hidden": t.hidden, "outputs": t.outputs, "source": t.source, "licence": t.licence,
             "citation": t.citation} for t in wanted]
