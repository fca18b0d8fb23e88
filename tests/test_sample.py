"""`bitmosaic sample` by several processes."""

import os
import subprocess
import sys

from bitmosaic.cli import main


def test_two_processes_draw_what_one_draws(tmp_path):
    """70 images are two batches, one for each process."""
    words = ["sample", "fashion", "--classes", "bag", "--count", "70", "--steps", "1", "--evaluations", "1", "--out"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bitmosaic", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run([*launch, str(tmp_path / "two")], capture_output=True, text=True, timeout=200, env=env)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("70 images in") == 1
    assert main([*words, str(tmp_path / "one")]) == 0
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert len(one) == 71 and one == two
