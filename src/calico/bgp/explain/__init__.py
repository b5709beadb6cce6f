"""Why a prefix is, or is not, on a host: questions to BIRD and the kernel, and the answer in plain words."""
