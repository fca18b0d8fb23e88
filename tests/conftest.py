"""What every test shares: one thread, since the parts are tiny and bitwise claims should not hang on a thread count."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
