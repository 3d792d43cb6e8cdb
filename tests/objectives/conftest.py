import pytest

# Bigram probabilities p(next | current) over three tokens; powers of two, so that sums of logs are done by hand.
TABLE = [
    [1 / 2, 1 / 4, 1 / 4],
    [1 / 4, 1 / 2, 1 / 4],
    [1 / 8, 1 / 8, 3 / 4],
]


@pytest.fixture
def policy(bigram):
    """p(1|0) = p(2|1) = 1/4, p(0|0) = 1/2, …"""
    return bigram(TABLE)
