import pytest
import torch

from xright.data.prompts import Row
from xright.forward.collate import LAYOUTS, collate
from xright.forward.logprobs import response_token_logps
from xright.forward.packing import choose_layout
from xright.objectives import DFT, SFT

ROWS = [Row(0, [0], ([1, 2],)), Row(1, [1, 1], ([1],))]  # p(1|0) = p(2|1) = 1/4; p(1|1) = 1/2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missed_share_of_tokens(policy, layout):
    batch = collate(ROWS, 0, layout)
    loss, _ = DFT()(policy, batch)
    assert loss.item() == pytest.approx(3 / 4 + 3 / 4 + 1 / 2)
    assert DFT().size(batch) == 3


def test_the_gradient_is_that_of_the_paper_s_loss(tiny_model, make_rows):
    """−Σ sg(p) log p, written out."""
    batch = collate(make_rows(4), pad_id=0)
    ours, theirs = tiny_model(), tiny_model()
    DFT()(ours, batch)[0].backward()
    logps_N = response_token_logps(theirs, batch)
    (-(logps_N.detach().exp() * logps_N).sum()).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-5, atol=1e-7)


def test_of_pairs_it_learns_the_chosen_answers(policy):
    pairs = [Row(0, [0], ([1, 2], [0])), Row(1, [1, 1], ([1], [2]))]
    assert DFT()(policy, collate(pairs, 0))[0].item() == pytest.approx(DFT()(policy, collate(ROWS, 0))[0].item())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("objective", [DFT(), SFT()], ids=repr)
def test_the_cut_into_micro_batches_does_not_matter(objective, layout, tiny_model, make_rows):
    rows, found = make_rows(4), []
    for cut in ([slice(0, 4)], [slice(0, 1), slice(1, 4)]):
        model = tiny_model()
        batches = [collate(rows[part], 0, choose_layout(model, layout)) for part in cut]
        losses = [objective(model, batch)[0] for batch in batches]
        sum(losses).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        found.append((sum(losses).item(), sum(map(objective.size, batches)), gradient))
    assert found[0][:2] == pytest.approx(found[1][:2], rel=1e-6)
    assert (found[0][2] - found[1][2]).norm() <= 1e-5 * found[0][2].norm()
