"""One spec: the same from Python, from files and from the command line; checked once, before anything is written."""

from __future__ import annotations

import ast
import json
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hardware import CHIP
from typer.testing import CliRunner, Result

import bittailor as bt
from bittailor.cli.main import app
from bittailor.cli.options import SPEC_OPTIONS
from bittailor.common import records
from bittailor.common.roles import RoleSettings
from bittailor.core.cells import CELLS
from bittailor.errors import BittailorError
from bittailor.quantise.calibration import METHODS
from bittailor.runs import Origin, SearchSpec, SpaceSettings, TaskSettings
from bittailor.runs.presets import PRESETS
from bittailor.runs.seeding import SEEDINGS
from bittailor.runs.spec import DEFAULTS, layered
from bittailor.search.optimisers.operators import CROSSOVERS, MUTATIONS
from bittailor.tasks import TASKS
from bittailor.train.beacons.base import BeaconSettings
from bittailor.train.recipe import RANGES, Retraining
from small import small_data, small_network

RECORDS = (SearchSpec, TaskSettings, SpaceSettings, bt.SearchSettings, bt.CalibrationSettings, bt.BeaconSettings,
           Retraining, Origin)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
SHARE = st.floats(0, 1)
COUNT = st.integers(1, 99)
BITS = st.lists(st.integers(2, 8), unique=True).map(lambda found: tuple(sorted(found)))

retraining = st.builds(Retraining, epochs=st.integers(0, 9), updates=COUNT, batch=COUNT, rate=st.floats(1e-9, 1e9),
                       ranges=st.sampled_from(RANGES), distil=SHARE, noise=SHARE)
beacons = st.builds(bt.BeaconSettings, budget=st.integers(0, 9), polish=st.integers(0, 9), share=SHARE,
                    threshold=st.floats(0, 9), weighted=st.booleans(), first=st.integers(2, 9), recipe=retraining,
                    given=st.lists(WORDS, max_size=2).map(tuple))
specs = st.builds(
    SearchSpec, metric=st.sampled_from(["", "mse"]),
    objectives=st.permutations(["error", "size", "stored", "flash"]).map(lambda names: tuple(names[:3])),
    constraints=st.lists(st.sampled_from(["size<=8KiB", "error<=5", "ram <= 2kB"]), max_size=2).map(tuple),
    guide=st.sampled_from(["loss", "error"]), seeding=st.sampled_from(list(SEEDINGS)),
    engine=st.sampled_from(["auto", "reference"]), workers=st.integers(0, 9),
    task=st.builds(TaskSettings, name=st.sampled_from(["", "digits", "my net.py:load"]),
                   cell=st.sampled_from(list(CELLS)), hidden=st.integers(0, 99), seed=st.integers(0, 99), data=WORDS),
    space=st.one_of(
        st.builds(SpaceSettings, name=st.sampled_from(["per_operator", "silago"]), widths=BITS, activations=BITS),
        st.just(bt.per_layer(small_network().graph))),
    search=st.builds(bt.SearchSettings, population=st.integers(2, 99), offspring=st.integers(0, 9), generations=COUNT,
                     seed=st.integers(0, 9), crossover=st.sampled_from(list(CROSSOVERS)),
                     mutation=st.sampled_from(list(MUTATIONS)), crossover_probability=SHARE),
    calibration=st.builds(bt.CalibrationSettings, method=st.sampled_from(METHODS), per_row=st.booleans(), items=COUNT),
    beacons=beacons)


@given(specs)
def test_there_and_back(spec: SearchSpec) -> None:
    assert SearchSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    text = spec.to_toml()
    again = SearchSpec.from_dict(tomllib.loads(text))
    assert again == spec
    assert again.to_toml() == text


@given(specs, specs)
def test_the_upper_layer_counts(below: SearchSpec, above: SearchSpec) -> None:
    assert layered(below.to_dict(), above.to_dict()) == above
    assert layered(below.to_dict(), {}) == below
    found = layered(below.to_dict(), {"search": {"seed": 77}})
    assert found == replace(below, search=replace(below.search, seed=77))


def test_platforms_come_whole_or_as_files(tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    file.write_text(CHIP)
    spec = layered({"platforms": [str(file)], "objectives": ["error", "my_chip.energy"], "space": {"name": "my_chip"}})
    again = SearchSpec.from_dict(tomllib.loads(spec.to_toml()))
    assert again.to_dict() == spec.to_dict()
    assert again.platforms[0].products == spec.platforms[0].products


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_field_is_explained(kind: type) -> None:
    assert records.field_docs(kind).keys() == {f.name for f in fields(kind)}


@pytest.mark.parametrize(("values", "words"), [
    ({"serch": {}}, "unknown setting 'serch'; did you mean 'search'"),
    ({"search": {"populaton": 4}}, "unknown setting of search 'populaton'; did you mean 'population'"),
    ({"search": {"population": "40"}}, "search.population is '40'; expected a whole number"),
    ({"search": {"population": True}}, "search.population is True; expected a whole number"),
    ({"search": {"population": 1}}, "search: population is 1; expected a whole number, 2 or more"),
    ({"search": {"crossover_probability": float("nan")}}, "search.crossover_probability is nan; expected a number"),
    ({"search": 3}, "search is 3; expected a table"),
    ({"objectives": ["error"]}, "two or more"),
    ({"objectives": ["error", "error"]}, "two or more, each once"),
    ({"objectives": ["error", "sise"]}, "did you mean 'size'"),
    ({"objectives": "error"}, "objectives is 'error'; expected a list"),
    ({"constraints": ["size<8"]}, "cannot read the constraint"),
    ({"guide": "luck"}, "guide 'luck' is unknown"),
    ({"seeding": "sensitive"}, "did you mean 'sensitivity'"),
    ({"engine": "nativ"}, "did you mean 'native'"),
    ({"workers": -1}, "workers is -1"),
    ({"metric": "per_bean"}, "did you mean 'per_beam'"),
    ({"task": {"name": "digit"}}, "did you mean 'digits'"),
    ({"task": {"cell": "grru"}}, "did you mean 'gru'"),
    ({"task": {"hidden": -1}}, "task: hidden is -1"),
    ({"space": {"name": "per_oprator"}}, "did you mean 'per_operator'"),
    ({"space": {"widths": [2, 99]}}, "99"),
    ({"space": {"widths": [2.5]}}, r"space.widths[0] is 2.5; expected a whole number"),
    ({"space": {"genes": []}}, "space"),
    ({"platforms": "chip.toml"}, "platforms is 'chip.toml'; expected a list"),
    ({"platforms": [{"name": "x"}]}, "platforms: 'format' is missing"),
    ({"calibration": {"method": "mean"}}, "choose one of mse"),
    ({"beacons": {"first": 1}}, "beacons: first is 1"),
    ({"beacons": {"recipe": {"epoch": 3}}}, "unknown setting of beacons.recipe 'epoch'; did you mean 'epochs'"),
    ({"beacons": {"recipe": {"rate": -1.0}}}, "beacons.recipe: rate is -1.0"),
    ({"certify": "0.5@"}, "cannot read '0.5@'"),
    ({"certify": "half"}, "write MARGIN@CONFIDENCE"),
    ({"certify": "-1"}, "0 or more"),
    ({"certify": "1@100"}, "above 50 and below 100"),
    ({"certify": "1", "roles": {"confirm": 0.0}}, "give roles.confirm (--confirm) a share above 0"),
    ({"roles": {"confirm": 1.0}}, "roles: confirm is 1"),
    ({"roles": {"select_items": -1}}, "roles: select_items is -1"),
])
def test_a_mistake_is_one_line_that_names_the_field(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BittailorError) as error:
        layered(values)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# --- the command line -----------------------------------------------------------------------------------------------


def command(*words: str) -> Result:
    """What the command line does; 2 where `main` would print an error's line."""
    done = CliRunner().invoke(app, list(words))
    if isinstance(done.exception, BittailorError):
        done.exit_code = done.exception.status
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def printed(*words: str) -> SearchSpec:
    done = command("spec", *words)
    assert done.exit_code == 0, done.output
    return SearchSpec.from_dict(tomllib.loads(done.stdout))


def test_the_command_line_before_the_file_before_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('guide = "loss"\n[task]\nname = "vowels"\nseed = 5\n[search]\npopulation = 8\n')
    spec = printed("--spec", str(file), "--preset", "mohaq", "--space", "silago", "--population", "6")
    paper = PRESETS["mohaq"].in_space("silago")
    assert spec.search == replace(paper.search, population=6)
    assert (spec.guide, spec.objectives, spec.seeding) == ("loss", paper.objectives, "homogeneous")
    assert spec.task == TaskSettings("vowels", hidden=TASKS["vowels"].hidden, seed=5)
    assert printed("digits", "--spec", str(file)).task.name == "digits"
    assert printed("digits", "--seed", "3") == replace(
        printed("digits"), task=replace(printed("digits").task, seed=3), search=bt.SearchSettings(seed=3),
        roles=RoleSettings(seed=3))
    assert printed("digits") == replace(DEFAULTS, metric=TASKS["digits"].metric,
                                        task=TaskSettings("digits", hidden=TASKS["digits"].hidden))
    # what a file turns on can be turned off
    file.write_text("racing = true\n[beacons]\nshare = 0.4\n")
    assert not printed("digits", "--spec", str(file), "--no-racing").racing
    assert printed("digits", "--spec", str(file), "--no-racing", "--polish", "1").beacons.share == 0.4


def test_the_usual_retraining_is_one_word(tmp_path: Path) -> None:
    """Of which every part can be said otherwise; and what a file asks for, undone."""
    assert printed("digits", "--retrain").beacons == BeaconSettings.usual()
    assert printed("digits", "--ladder", "5", "--retrain", "--recipe", "epochs=3").beacons == replace(
        BeaconSettings.usual(Retraining(epochs=3)), ladder=5)
    file = tmp_path / "my.toml"
    file.write_text("[beacons]\nbudget = 2\npolish = 1\nshare = 0.4\n")
    assert printed("digits", "--spec", str(file), "--retrain").beacons == replace(BeaconSettings.usual(), share=0.4)
    assert printed("digits", "--spec", str(file), "--no-retrain").beacons == BeaconSettings(share=0.4)


def test_every_option_has_its_fields() -> None:
    for option in SPEC_OPTIONS:
        for path in option.fields:
            values: Any = DEFAULTS.to_dict()
            for part in path.split("."):
                values = values[part]


def test_a_recipe_of_so_many_epochs_trains_so_many() -> None:
    recipe = printed("digits", "--polish", "1", "--recipe", "epochs=3").beacons.recipe
    assert recipe.epochs_for(1077) == recipe.epochs_for(7) == 3
    assert Retraining().epochs_for(1000) == 157
    assert Retraining().epochs_for(1_000_000) == 16
    # the names of beacons do not tell how it was said
    assert Retraining(epochs=3).identity() == Retraining(epochs=3, updates=0).identity()


VALUES = ["", "0", "1", "-1", "3.5", "nan", "digits", "mse", "error,size", "error", "8", "2-8", "8-2", "1,2,99", "x=y",
          "epochs=3", "epochs=x", "share=0.3", "share=big", "first=1", "reference", "auto", "silago", "lstm", "mohaq",
          "size<=8KiB", "size<=", "nothing/here", "true", "[1]", "é\x7f"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from([
    "--" + (o.flag.lstrip("-") or o.name).replace("_", "-") for o in SPEC_OPTIONS] + ["--spec", "--preset"]),
    st.sampled_from(VALUES)), max_size=4))
def test_any_options_are_taken_or_refused(tmp_path: Path, options: list[tuple[str, str]]) -> None:
    """No traceback; what is refused leaves nothing behind; what is taken is what is printed."""
    flags = {f"--{o.name.replace('_', '-')}" for o in SPEC_OPTIONS if o.type is bool}
    words = [word for name, value in options for word in ([name] if name in flags else [f"{name}={value}"])]
    done = command("spec", "digits", *words)
    assert done.exit_code in (0, 2)
    if done.exit_code == 0:
        file = tmp_path / "found.toml"
        file.write_text(done.stdout, "utf-8")
        assert command("spec", "--spec", str(file)).stdout == done.stdout
    else:
        out = tmp_path / "run"
        assert command("search", "digits", "--out", str(out), *words).exit_code == 2
        assert not out.exists()


OWN = '''
import numpy as np, torch, bittailor as bt
def load():
    torch.manual_seed(0)
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(2, 4, batch_first=True)
            self.head = torch.nn.Linear(4, 3)
        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1])
    rng = np.random.default_rng(0)
    def part(n):
        x = rng.normal(size=(n, 6, 2)).astype(np.float32)
        return bt.Data(x, (x.sum((1, 2)) > 0).astype(int) + (x[:, -1, 0] > 0.5))
    return Net().eval(), bt.Splits(part(60), part(60), part(60))
'''


def rows(run: bt.Run) -> list[Any]:
    with run.store() as store:
        return [(row.key, row.outcome.values) for row in store.rows()]


def test_options_a_printed_spec_and_a_run_give_the_same_search(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN, "utf-8")
    words = [f"{tmp_path / 'net.py'}:load", "--population", "6", "--generations", "2", "--widths", "2,4,8", "--seed",
             "2", "--constrain", "size<=1KiB", "--workers", "1"]
    (tmp_path / "my.toml").write_text(command("spec", *words).stdout, "utf-8")
    (tmp_path / "my.json").write_text(json.dumps(tomllib.loads((tmp_path / "my.toml").read_text("utf-8"))))
    assert command("search", *words, "--out", str(tmp_path / "0"), "--quiet").exit_code == 0
    # the file that a run names is run only if it is named here, too
    for i, source in enumerate([["my.toml"], ["my.json"], ["0", words[0]]], 1):
        assert command("search", "--spec", str(tmp_path / source[0]), *source[1:], "--out", str(tmp_path / str(i)),
                       "--quiet").exit_code == 0
    runs = [bt.Run.open(tmp_path / str(i)) for i in range(4)]
    assert all(run.spec == runs[0].spec and run.front == runs[0].front and rows(run) == rows(runs[0]) for run in runs)
    # the spec in Python, the network handed in
    network, data = small_network(), small_data(small_network())
    made = bt.run_search(network, data, tmp_path / "py", replace(runs[0].spec, task=TaskSettings()))
    assert made.spec == replace(runs[0].spec, task=TaskSettings())


def test_wrong_spec_files(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    for text, words in (("a = ", "is not TOML"), ("a = 1", "unknown setting 'a'")):
        file.write_text(text)
        done = command("search", "--spec", str(file), "--out", str(tmp_path / "out"))
        assert words in str(done.exception)
    done = command("search", "--spec", str(tmp_path / "no.toml"), "--out", str(tmp_path / "out"))
    assert "cannot read" in str(done.exception)
    assert "which task?" in str(command("search", "--out", str(tmp_path / "out")).exception)
    assert not (tmp_path / "out").exists()


# --- the house ------------------------------------------------------------------------------------------------------


def test_functions_of_runs_are_short() -> None:
    """A search reads as steps: no function of more than 60 lines, no more than 10 parameters of `run_search`."""
    for path in sorted((Path(bt.__file__).parent / "runs").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name}"
                if node.name == "run_search":
                    assert len(node.args.args) + len(node.args.kwonlyargs) <= 10
