"""Layers whose products are bfloat16: C++ kernels on the CPU, XLA's elsewhere.

Factors are rounded to bfloat16, sums are float32. Parameters, their gradients and the
recurrent state are float32.
"""
