import pytest

from calico.errors import Conflict, InvalidInput, NotFound
from calico.lab import state
from calico.lab.state import LabState, lab_lock, list_labs, load_state, save_state
from calico.lab.topology import Host, Topology

TOPOLOGY = Topology(name="t", hosts=(Host(name="h"),))


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "LAB_ROOT", tmp_path / "labs")
    return tmp_path / "labs"


def test_a_state_is_read_back_as_it_was_saved():
    saved = LabState(topology=TOPOLOGY, given=TOPOLOGY, revision=7, phase="up")
    save_state(saved)
    assert load_state("t") == saved
    assert list_labs() == ["t"]


def test_a_lab_that_does_not_exist_is_named():
    with pytest.raises(NotFound, match="'t'"):
        load_state("t")


def test_a_damaged_state_file_says_how_to_clear_it_away(root):
    (root / "t").mkdir(parents=True)
    (root / "t" / "state.json").write_text('{"topology": 3}')
    with pytest.raises(InvalidInput, match="calico lab down t"):
        load_state("t")


def test_nobody_else_may_change_a_lab_that_is_being_changed():
    with lab_lock("t"), pytest.raises(Conflict, match="being changed"), lab_lock("t"):
        pass
    with lab_lock("t"):
        pass  # free again


def test_labs_do_not_lock_one_another():
    with lab_lock("t"), lab_lock("u"):
        pass


def test_the_lock_leaves_nothing_behind_when_the_lab_has_no_files(root):
    with lab_lock("t"):
        pass
    assert not root.exists()


def test_the_lock_stays_with_a_lab_that_has_files(root):
    with lab_lock("t"):
        save_state(LabState(topology=TOPOLOGY, given=TOPOLOGY))
    assert sorted(entry.name for entry in root.iterdir()) == ["t", "t.lock"]
