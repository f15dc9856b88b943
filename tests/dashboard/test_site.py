"""The site graph from inventory points, and the order of the floor."""

from plant import Plant

from dashboard.site import UNPLACED, Host, build_site, natural, place, read_site
from storage.duckdb import DuckDBStore


def test_the_graph_of_the_stated_site(plant: Plant) -> None:
    plant.settle()
    site = read_site(plant.store)
    assert site.name == "S1"
    assert site.rows == ("A",)
    assert [rack.name for rack in site.racks] == ["A01", "A02", "N01"]
    rack = site.racks[0]
    assert (rack.hosts, rack.shelves, rack.cdu, rack.rated_watts) == (
        ("node-1", "node-2"),
        ("shelf-A01",),
        "cdu-1",
        10_000,
    )
    assert site.racks[2].pdus == ("pdu-N01",)
    assert site.hosts[3] == Host("node-10", "A02", 2)
    assert site.cdus[0].racks == ("A01", "A02")
    assert site.meters == {"main": "facility"}
    assert site.engines["vllm-node-3"] == "node-3"
    assert site.uplinks == {"leaf-1": ("node-1", "node-2", "node-3", "node-10")}
    assert site.expected_gpus == 8


def test_what_was_removed_is_gone(plant: Plant) -> None:
    tags = {"kind": "host", "id": "node-10", "parent": "A02", "relation": "contains"}
    plant.put("inventory", tags, {"present": 0}, -100)
    plant.settle()
    assert [host.name for host in read_site(plant.store).hosts] == ["node-1", "node-2", "node-3"]


def test_an_unchanged_inventory_gives_an_equal_site(plant: Plant) -> None:
    plant.settle()
    assert read_site(plant.store) == read_site(plant.store)


def test_an_empty_store_has_an_empty_site(store: DuckDBStore) -> None:
    site = read_site(store)
    assert (site.name, site.racks, site.hosts) == ("", (), ())


def test_names_are_sorted_as_people_do() -> None:
    assert sorted(["A10", "A2", "B1", "A1"], key=natural) == ["A1", "A2", "A10", "B1"]
    assert sorted(["node-a1-10", "node-a1-9"], key=natural) == ["node-a1-9", "node-a1-10"]


def test_cells_are_ordered_by_row_rack_host_index(plant: Plant) -> None:
    plant.settle()
    site = read_site(plant.store)
    layout = place(site, ["b", "x", "a"], ["node-10", "alien", "node-1"], ["", "Z9", ""], ["1", "", "0"])
    assert layout.gpus == ("a", "node-1:1", "node-2:0", "node-2:1", "node-3:0", "node-3:1", "node-10:0", "b", "x")
    assert layout.rows == (("A", (("A01", 0, 4), ("A02", 4, 4))), (UNPLACED, ((UNPLACED, 8, 1),)))


def test_a_replaced_board_takes_the_cell(plant: Plant) -> None:
    plant.settle()
    layout = place(read_site(plant.store), ["old", "new"], ["node-1", "node-1"], ["", ""], ["0", "0"])
    assert layout.gpus[0] == "new"
    assert len(layout.gpus) == 8


def test_the_hash_changes_with_the_layout_alone(plant: Plant) -> None:
    plant.settle()
    site = read_site(plant.store)
    first = place(site, ["a"], ["node-1"], [""], ["0"])
    assert place(site, ["a"], ["node-1"], [""], ["0"]).hash == first.hash
    assert place(site, ["b"], ["node-1"], [""], ["0"]).hash != first.hash


def test_the_frame_is_read_whatever_its_order(plant: Plant) -> None:
    plant.settle()
    frame = plant.store.latest(
        "inventory", ["present", "expected_count", "rated_watts", "rated_flow_liters_per_second"], within=_hour()
    )
    assert build_site(frame.iloc[::-1]) == build_site(frame)


def _hour():  # type: ignore[no-untyped-def]
    from datetime import timedelta

    return timedelta(hours=1)
