"""Resource requests: settings become Ray options, and requests that cannot be scheduled are refused."""

from __future__ import annotations

import pytest

from cluster.config.recipe import Resources
from cluster.runtime.resources import (
    ResourceGroup,
    ResourceRequest,
    check_fits,
    local_cpus,
    num_torch_threads,
    ray_options,
    train_options,
)
from rollout.errors import UserError

NODE = {"CPU": 2.0, "GPU": 1.0, "memory": 8 * 1024**3}


def request(section: str, workers: int = 1, **resources: object) -> ResourceRequest:
    return ResourceRequest(section, workers, Resources.model_validate(resources))


def group(request: ResourceRequest) -> ResourceGroup:
    return ResourceGroup("", (request,))


def test_settings_become_ray_options_of_one_actor() -> None:
    resources = Resources(cpus=0.5, gpus=0.25, memory_gib=2, custom={"big_disk": 1})
    assert ray_options("teacher", resources) == {
        "num_cpus": 0.5,
        "num_gpus": 0.25,
        "resources": {"big_disk": 1},
        "memory": 2 * 1024**3,
    }


def test_a_training_process_uses_rays_resource_names_and_omits_zeros() -> None:
    assert train_options("learner", Resources(cpus=2)) == {"CPU": 2.0}
    assert train_options("learner", Resources(cpus=1, gpus=1)) == {"CPU": 1.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"gpus": 1.5}, "1 or 2"),
        ({"cpus": 0.00001}, "smallest amount"),
        ({"custom": {"GPU": 1}}, "has its own setting"),
    ],
)
def test_requests_that_ray_would_refuse_or_round_are_refused_with_the_setting(
    resources: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError, match=f"teacher.resources.*{words}"):
        ray_options("teacher", Resources.model_validate(resources))


def test_a_recipe_that_needs_exactly_the_resources_of_the_cluster_fits() -> None:
    check_fits([request("teacher", cpus=0.7), request("student", cpus=0.3), request("learner", gpus=1)], [NODE])


def test_workers_that_fit_no_single_node_are_refused() -> None:
    with pytest.raises(UserError, match="teacher worker needs 3 CPU.*largest has 2 CPU"):
        check_fits([request("teacher", cpus=3)], [NODE, NODE])


def test_more_than_the_cluster_has_is_refused_with_the_request_of_each_role() -> None:
    with pytest.raises(
        UserError, match=r"needs 3 CPU at the same time \(teacher 2 × 1 CPU, student 1 × 1 CPU\).*has 2 CPU"
    ):
        check_fits([request("teacher", 2, cpus=1), request("student", cpus=1)], [NODE])


def test_a_gpu_on_a_cluster_without_one_is_refused() -> None:
    with pytest.raises(UserError, match="learner worker needs 1 CPU, 1 GPU"):
        check_fits([request("learner", gpus=1)], [{"CPU": 2.0}])


def test_a_new_cluster_declares_its_cores_and_up_to_twice_as_many_cpus_on_request() -> None:
    small, medium, large = request("a", cpus=0.5), request("a", 3, cpus=1), request("a", 9, cpus=1)
    assert [local_cpus([group(small), group(wanted)], 2) for wanted in (small, medium, large)] == [2, 3, 4]


def test_training_processes_share_all_cores_of_their_own_machine_but_keep_to_their_request_elsewhere() -> None:
    assert num_torch_threads(Resources(cpus=1), workers=1, cores=2) == 2
    assert num_torch_threads(Resources(cpus=1), workers=2, cores=2) == 1
    assert num_torch_threads(Resources(cpus=1), workers=4, cores=2) == 1
    assert num_torch_threads(Resources(cpus=3), workers=1, cores=None) == 3
    assert num_torch_threads(Resources(cpus=0), workers=1, cores=None) == 1
