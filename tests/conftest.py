"""One torch thread for all tests: their tensors are small, threads cost more than they give."""

import torch

torch.set_num_threads(1)
