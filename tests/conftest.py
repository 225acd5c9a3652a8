"""One torch thread for all tests.

Their tensors are small, so threads cost more than they give. It also keeps OpenMP's pools out of
the whole run, which now and then died of a segmentation fault that no test alone, nor any few, ever
showed, each time where a new thread or process began to use torch.
"""

import torch

torch.set_num_threads(1)
