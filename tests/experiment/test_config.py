"""Files of experiments: every mistake is named, all of them at once; includes; seeds cut short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.errors import ConfigError
from recalign.experiment.config import load_experiment, settings_text

BASE = """
name = "e"
title = "E"

[data.a]
dataset = "synthetic"
[data.b]
dataset = "synthetic"
[data.f3]
dataset = "synthetic"
protocol = "tallrec-book"
folds = 3
[data.f5]
dataset = "synthetic"
protocol = "tallrec-book"
folds = 5

[backbones.n]
name = "nano"
[backbones.m]
name = "nano"

[teachers.t]
data = "a"

[[panels]]
name = "p"
data = "a"
"""


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(more: str = "", name: str = "e.toml", base: str = BASE) -> Path:
        path = tmp_path / name
        path.write_text(base + more, encoding="utf-8")
        return path

    return write


def stage(name: str = "s", data: str = '["a"]', **settings: object) -> str:
    lines = [f"{key} = {value}" for key, value in settings.items()]
    return "\n".join(["\n[[stages]]", f'name = "{name}"', f"data = {data}", *lines, ""])


PANEL = '\n[[panels]]\nname = "q"\ndata = "a"\n'

MISTAKES = {
    "panel data": ('\n[[panels]]\nname = "q"\ndata = "x"\n', "panel q: unknown data set 'x'"),
    "panel fit": (PANEL + 'fit = "x"\n', "panel q: unknown data set 'x'"),
    "panel unseen": (PANEL + 'unseen_by = ["x"]\n', "panel q: unknown data set 'x'"),
    "panel stage": (PANEL + 'stages = ["x"]\n', "panel q: unknown stage 'x'"),
    "panel twice": (PANEL.replace('"q"', '"p"'), "panel p: the name is taken"),
    "panel controls": (PANEL + 'controls = ["x"]\n', "unknown controls x; expected shuffled-history, foreign-history"),
    "panel references": (PANEL + 'references = ["x"]\n', "unknown references x; expected mf"),
    "panel ranked": (PANEL + 'ranked = ["x"]\n', "ranked, controlled, labels or zero_shot name no stage of it: x"),
    "panel controlled": (PANEL + 'controlled = ["x"]\n', "name no stage of it: x"),
    "panel labels": (PANEL + 'labels = { x = "X" }\n', "name no stage of it: x"),
    "panel zero-shot": (PANEL + 'zero_shot = ["x"]\n', "name no stage of it: x"),
    "panel resamples": (PANEL + "resamples = 9\n", "panels.1.resamples: Input should be greater than or equal to 100"),
    "figure": ('\n[[figures]]\nkind = "bars"\ntitle = "F"\npanel = "x"\nmodels = ["M"]\n', "figure 'F': unknown panel"),
    "figure kind": ('\n[[figures]]\nkind = "pie"\ntitle = "F"\npanel = "p"\nmodels = ["M"]\n', "figures.0.kind: "),
    "stage data": (stage(data='["x"]'), "stage s: unknown data set 'x'"),
    "stage zero-shot": (stage(zero_shot_for='["x"]'), "stage s: unknown data set 'x'"),
    "stage backbone": (stage(backbones='["x"]'), "stage s: unknown backbone 'x'"),
    "stage teacher": (stage(kind='"cot"', teacher='"x"'), "stage s: unknown teacher 'x'"),
    "stage parent": (stage(parent='"x"'), "stage s: parent 'x' is no earlier stage"),
    "stage order": (stage(parent='"s2"') + stage("s2"), "stage s: parent 's2' is no earlier stage"),
    "stage twice": (stage() + stage(), "stage s: the name is taken"),
    "stage values": (stage(seeds="[1, 1]"), "a value comes twice in seeds"),
    "parent shots": (
        stage(shots="[1, 2]", selection='"strict-k"') + stage("c", parent='"s"'),
        "stage c: parent 's' spans shots or selections, expected one model a seed",
    ),
    "parent seeds": (
        stage(seeds="[0, 1]") + stage("c", parent='"s"', seeds="[0, 2, 3]"),
        "stage c: its parent has no seed 2, 3",
    ),
    "parent backbone": (
        stage(backbones='["n"]') + stage("c", parent='"s"'),
        "stage c: its parent has no backbone m",
    ),
    "folds": (stage(data='["f3", "f5"]'), "stage s: data sets with different numbers of parts"),
    "parent folds": (
        stage(data='["f3"]') + stage("c", data='["f5"]', parent='"s"'),
        "stage c: its parent has 3 parts, and its data 5",
    ),
    "grandparent folds": (
        stage(data='["f3"]') + stage("c", parent='"s"') + stage("d", data='["f5"]', parent='"c"'),
        "stage d: its parent has 3 parts, and its data 5",
    ),
    "one of two selections": (
        stage(selection='["strict-k", "paper"]', shots="4"),
        "stage s: selection 'paper' needs validation = '<target data set>'",
    ),
    "paper selection": (
        stage(selection='"paper"', shots="4"),
        "stage s: selection 'paper' needs validation = '<target data set>'",
    ),
    "key": (stage(epoch="3"), "stages.0.epoch: "),
    "baseline model": ('\n[[baselines]]\nmodels = ["x"]\ndata = "a"\n', "baselines.0.models.0: "),
    "baseline data": ('\n[[baselines]]\nmodels = ["sasrec"]\ndata = "x"\n', "baselines: unknown data set 'x'"),
    "baseline axes": (
        '\n[[baselines]]\nmodels = ["sasrec"]\ndata = "a"\nsettings = { seed = 1, shots = 2 }\n',
        "settings hold seed, shots: use models, shots and seeds",
    ),
    "baseline settings": (
        '\n[[baselines]]\nmodels = ["sasrec"]\ndata = "a"\nsettings = { widht = 1 }\n',
        "widht",
    ),
    "in-context data": ('\n[[in_context]]\ndata = "x"\n', "in_context: unknown data set 'x'"),
    "in-context backbone": ('\n[[in_context]]\ndata = "a"\nbackbones = ["x"]\n', "in_context: unknown backbone 'x'"),
    "teacher data": ('\n[teachers.u]\ndata = "x"\n', "teacher u: unknown data set 'x'"),
    "backbone data": ('\n[backbones.o]\nname = "nano"\nsources = ["x"]\n', "backbone o: unknown data set 'x'"),
    "name": ('\n[data."A b"]\ndataset = "synthetic"\n', "data set 'A b': expected a name like "),
    "stage name": (stage(name="../up"), "stages.0.name"),
    "stage settings": (stage(optim="{ lr = -1, lrr = 1e-3 }"), "stages.0.optim.lr: Input should be greater than 0"),
    "stage misspelt": (stage(optim="{ lrr = 1 }"), "stages.0.optim.lrr: unknown key, did you mean lr?"),
    "stage seed": (stage(seed="1"), "stages.0.seed: unknown key, did you mean seeds?"),
    "stage shots": (stage(shots="[0]"), "shots"),
    "stage shots of source": (
        stage(shots="[4]", selection='"source"'),
        "uses strict-k, k-fold or paper",
    ),
    "later point": (
        stage(shots="4", selection='["strict-k", "source"]'),
        "uses strict-k, k-fold or paper",
    ),
    "model's name": (stage(seeds="[0, 1]") + stage("s-seed1"), "stage s-seed1: the name is taken"),
    "extend": (stage(extend='"x"'), "stages; found extend = 'x'; expected one of s"),
    "extend data": ('\n[data.c]\nextend = "x"\n', "data; found extend = 'x'; expected one of a, b, f3, f5, c"),
    "extend itself": (stage(extend='"s"'), "found extend = 's', which extends it"),
    "extend in a circle": (
        stage(extend='"t"') + stage("t", extend='"u"') + stage("u", extend='"t"'),
        ", which extends it",
    ),
    "extend no name": (stage(extend="[1]"), "found extend = [1]; expected one of s"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_named(file: Callable[..., Path], kind: str) -> None:
    more, message = MISTAKES[kind]
    load_experiment(file())
    with pytest.raises(ConfigError) as error:
        load_experiment(file(more))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_mistakes_are_told_at_once(file: Callable[..., Path]) -> None:
    more = stage(parent='"x"', data='["y"]') + PANEL + 'stages = ["z"]\n'
    with pytest.raises(ConfigError) as error:
        load_experiment(file(more, base='paper = "w"\n' + BASE))
    for message in ("parent 'x'", "data set 'y'", "stage 'z'", "paper 'w': expected tallrec-table2, "):
        assert message in str(error.value)


def test_stages_need_a_backbone(file: Callable[..., Path]) -> None:
    base = BASE.partition("[backbones")[0] + BASE[BASE.index("[[panels]]") :]
    load_experiment(file(base=base))
    with pytest.raises(ConfigError, match=r"stages and in_context need a backbone: \[backbones.NAME\]"):
        load_experiment(file(stage(), base=base))


def test_hostile_text_in_a_message_has_no_control_characters(file: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError) as error:
        load_experiment(file('\n[[panels]]\nname = "q"\ndata = "\\u001b[2J\\n"\n'))
    assert str(error.value).isprintable()


def test_included_files_come_first_and_are_joined(file: Callable[..., Path]) -> None:
    file(stage("one"), name="common.toml")
    path = file('include = ["common.toml"]\n' + stage("two", parent='"one"') + PANEL, base="")
    found = load_experiment(path)
    assert [each.name for each in found.stages] == ["one", "two"]
    assert [each.name for each in found.panels] == ["p", "q"]
    text = settings_text(path)
    assert text.index("# common.toml") < text.index("# e.toml")
    assert path.read_text() in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('include = ["common.toml"]\ntitle = "Two"\n', "title in two files"),
        ('include = ["common.toml"]\n[data.a]\ndataset = "synthetic"\n', r"data\.a in two files"),
        ('include = ["e.toml"]\n', "include of .*e.toml, which includes it"),
        ('include = ["round.toml"]\n', "include of .*e.toml, which includes it"),
        ('include = "common.toml"\n', "expected a list of files"),
        ('include = ["none.toml"]\n', "none.toml"),
        ("include = [", "e.toml"),
    ],
)
def test_includes_that_do_not_go_together(file: Callable[..., Path], more: str, message: str) -> None:
    file(name="common.toml")
    file('include = ["e.toml"]\n', name="round.toml", base="")
    with pytest.raises(ConfigError, match=message):
        load_experiment(file(more, base=""))


def test_seeds_are_cut_short_everywhere(file: Callable[..., Path]) -> None:
    more = stage(seeds="[3, 4, 5]") + stage("t", seeds="9")
    more += '\n[[baselines]]\nmodels = ["sasrec"]\ndata = "a"\nseeds = [7, 8]\n'
    more += '\n[[in_context]]\ndata = "a"\ndemonstrations = [2]\nseeds = [1, 2, 3]\n'
    found = load_experiment(file(more), seeds=2)
    assert [each.seeds for each in found.stages] == [(3, 4), (9,)]
    assert (found.baselines[0].seeds, found.in_context[0].seeds) == ((7, 8), (1, 2))
    assert [each.seeds for each in load_experiment(file(more), seeds=1).stages] == [(3,), (9,)]


def test_models_are_called_like_the_stage_and_by_what_it_has_several_of(file: Callable[..., Path]) -> None:
    more = stage(shots="[4, 8]", seeds="[0, 1]", selection='["strict-k", "paper"]', validation='"a"', batch_size=4)
    more += stage("one", shots="4", selection='["strict-k"]') + stage("plain")
    several, one, plain = load_experiment(file(more)).stages
    points = list(several.points())
    assert [point.name for point in points] == [
        f"s-{shots}shot-{selection}-seed{seed}"
        for shots in (4, 8)
        for selection in ("strict-k", "paper")
        for seed in (0, 1)
    ]
    config = points[3].config
    assert (points[3].shots, points[3].selection, config.seed) == (4, "paper", 1)
    assert (config.shots, config.selection, config.batch_size) == (4, "paper", 4)
    (point,) = one.points()
    assert (point.name, point.config.shots, point.config.selection, point.config.seed) == ("one", 4, "strict-k", 0)
    (point,) = plain.points()
    assert (point.name, point.shots, point.selection, point.config.selection) == ("plain", None, "", "last")


def test_entries_extend_others_of_their_kind(file: Callable[..., Path]) -> None:
    more = stage("one", label='"One"', mode='"full"', optim='{ lr = 3e-4, schedule = "cosine" }', zero_shot_for='["b"]')
    more += stage("two", data='["b"]', extend='"one"', optim="{ lr = 1e-4 }", zero_shot_for="[]")
    more += stage("three", extend='"two"', label='""', seeds="[1, 2]")
    more += '\n[data.c]\nextend = "f3"\nseed = 4\n[backbones.o]\nextend = "n"\nnano = { layers = 3 }\n'
    more += '[teachers.u]\nextend = "t"\nlimit = 7\n[[panels]]\nname = "q"\nextend = "p"\ntitle = "Q"\n'
    found = load_experiment(file(more))
    one, two, three = found.stages
    assert [each.name for each in found.stages] == ["one", "two", "three"]
    assert (one.config.optim.lr, two.config.optim.lr, two.config.optim.schedule) == (3e-4, 1e-4, "cosine")
    assert (two.config.mode, two.data, two.label, two.zero_shot_for) == ("full", ("b",), "One", ())
    assert (three.config.optim, three.data, three.label, three.seeds) == (two.config.optim, ("a",), "", (1, 2))
    assert (found.data["c"].folds, found.data["c"].seed, found.data["f3"].seed) == (3, 4, 0)
    assert (found.backbones["o"].name, found.backbones["o"].nano.layers) == ("nano", 3)
    assert (found.teachers["u"].data, found.teachers["u"].limit) == ("a", 7)
    assert [(each.name, each.title, each.data) for each in found.panels] == [("p", "", "a"), ("q", "Q", "a")]


def test_without_panels_there_must_be_a_stage(file: Callable[..., Path]) -> None:
    base = BASE.partition("[[panels]]")[0]
    assert load_experiment(file(stage(), base=base)).panels == ()
    with pytest.raises(ConfigError, match=r"nothing to run: it has neither \[\[stages\]\] nor \[\[panels\]\]"):
        load_experiment(file(base=base))


def test_mistakes_in_several_places_are_told_together_with_their_paths(file: Callable[..., Path]) -> None:
    more = stage(optim="{ lr = -1, lrr = 1e-3 }", learning_rate="3") + PANEL + "resamples = 1\n"
    more += '[data.c]\ndataset = "synthetic"\ncatalogue = "films"\n[backbones.o]\nname = "nano"\nnano = { width = 3 }\n'
    with pytest.raises(ConfigError) as error:
        load_experiment(file(more))
    places = ("stages.0.optim.lr:", "stages.0.optim.lrr:", "stages.0.learning_rate:", "panels.1.resamples:")
    for place in (*places, "data.c: found catalogue 'films'", "backbones.o.nano.width:"):
        assert place in str(error.value)


def test_files_that_are_no_experiment(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load_experiment(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such file" in refused(tmp_path / "nowhere.toml")
    (tmp_path / "broken.toml").write_text("name = [")
    assert "no valid TOML" in refused(tmp_path / "broken.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "no valid TOML" in refused(tmp_path / "binary.toml")
    assert "experiment" in refused(tmp_path)
    (tmp_path / "empty.toml").write_text("")
    assert "data: Field required" in refused(tmp_path / "empty.toml")
    (tmp_path / "shapes.toml").write_text("stages = [1]\ndata = 2\npanels = { a = 3 }\n")
    assert "stages.0: " in refused(tmp_path / "shapes.toml")


def test_variables_of_the_environment(file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(base='description = "${RECALIGN_TEST_NAME} here"\n' + BASE)
    monkeypatch.delenv("RECALIGN_TEST_NAME", raising=False)
    with pytest.raises(ConfigError, match="export RECALIGN_TEST_NAME="):
        load_experiment(path)
    monkeypatch.setenv("RECALIGN_TEST_NAME", "what ${HOME} is")
    assert load_experiment(path).description == "what ${HOME} is here", "values are not looked into"


def test_settings_of_one_backbone_replace_those_of_the_stage_and_of_what_extends_it(file: Callable[..., Path]) -> None:
    more = stage(
        "one", mode='"full"', optim="{ lr = 3e-4, ema = 0.9 }", on='{ m = { mode = "lora", optim = { lr = 1e-3 } } }'
    )
    more += stage("two", extend='"one"', shots="[4, 8]", optim="{ lr = 2e-4 }", on="{ m = { max_steps = 7 } }")
    one, two = load_experiment(file(more)).stages
    on_n, on_m = ([point.config for point in each.points(name)] for each, name in ((one, "n"), (one, "m")))
    assert [(config.mode, config.optim.lr, config.optim.ema) for config in (*on_n, *on_m)] == [
        ("full", 3e-4, 0.9),
        ("lora", 1e-3, 0.9),
    ]
    config = next(two.points("m")).config
    assert (config.mode, config.optim.lr, config.max_steps) == ("lora", 1e-3, 7)
    assert [point.shots for point in two.points("m")] == [4, 8]
    assert next(two.points("n")).config.optim.lr == 2e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{ x = { batch_size = 4 } }", "stage s: unknown backbone 'x'"),
        ("{ m = { batch_size = 0 } }", "batch_size"),
        ("{ m = { bach_size = 4 } }", "bach_size"),
        ("{ m = { seed = 4, shots = 3 } }", "on: seed, shots cannot differ between backbones"),
    ],
)
def test_wrong_settings_of_one_backbone_are_named(file: Callable[..., Path], settings: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment(file(stage(on=settings)))


def test_an_optional_backbone_is_used_alone_and_only_where_it_is_named(file: Callable[..., Path]) -> None:
    more = '\n[backbones.big]\nname = "/models/big"\noptional = true\n' + stage() + stage("t", backbones='["n"]')
    more += '\n[[in_context]]\ndata = "a"\nbackbones = ["m", "big"]\n'
    plain = load_experiment(file(more))
    assert [plain.backbones_of(each) for each in (*plain.stages, *plain.in_context)] == [("n", "m"), ("n",), ("m",)]
    alone = load_experiment(file(more), backbones=["big"])
    assert [alone.backbones_of(each) for each in (*alone.stages, *alone.in_context)] == [("big",)] * 3
    both = load_experiment(file(more), backbones=["big", "m"])
    assert both.backbones_of(both.stages[1]) == ("big", "m")
    with pytest.raises(ConfigError, match=r"no such backbone.*expected n, m, big.*\[backbones.other\]"):
        load_experiment(file(more), backbones=["m", "other"])


def test_optional_backbones_alone_are_none(file: Callable[..., Path]) -> None:
    base = BASE.replace(
        '[backbones.n]\nname = "nano"\n[backbones.m]\nname = "nano"', '[backbones.n]\nname = "x"\noptional = true'
    )
    with pytest.raises(ConfigError, match="need a backbone"):
        load_experiment(file(stage(), base=base))
