"""RoI max pooling (Girshick, "Fast R-CNN", 2015, section 2.1), forward and backward."""
from __future__ import annotations

import torch

from . import _cpu, cuda

_WORTH_THREADS = 1 << 15   # number of top values below which threads cost more than they save


def roi_pool_forward(x: torch.Tensor, rois: torch.Tensor, pooled_h: int, pooled_w: int, spatial_scale: float,
                     with_argmax: bool = True) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Compute the maximum of every channel in each of pooled_h x pooled_w bins of every RoI.

    x              (N, C, H, W), float32, float64 or bfloat16
    rois           (R, 5): index of the image in x, x1, y1, x2, y2; inclusive corners, in units of 1 / spatial_scale
    spatial_scale  feature pixels per RoI unit, such as 1/16
    with_argmax    False if no backward pass follows: saves the memory of argmax

    Returns y (R, C, pooled_h, pooled_w) like x, and argmax, int32 of the same shape: the pixel y * W + x of each
    maximum, or -1 if the bin lies outside the feature map (its value is 0); None without `with_argmax`. Of equal
    values, the first in row order wins. A RoI with x2 < x1 or y2 < y1 is pooled as one pixel wide or high.

    Raises ValueError for wrong shapes and, on the CPU, for a RoI with non-finite coordinates or an image index out of
    range. On CUDA, where checking would wait for the device, such an index gives NaN.
    """
    rois = _checked_rois(x, rois)
    shape = (len(rois), x.shape[1], pooled_h, pooled_w)
    y = x.new_empty(shape)
    argmax = torch.empty(shape, dtype=torch.int32, device=x.device) if with_argmax else None
    if y.numel() == 0:
        return y, argmax
    if cuda.holds(x):
        features = x.detach().to(_kernel_type(x)).contiguous()
        cuda.launch_each("roi_pooling", f"roi_pool_forward_{_type_name(y)}",
                         (features, rois, y, argmax, len(rois), *x.shape, pooled_h, pooled_w, float(spatial_scale)),
                         y.numel(), x.device)
        return y, argmax
    _check_values(x, rois)
    # channels innermost, for vectorisation
    pixels = x.detach().permute(0, 2, 3, 1).to(_kernel_type(x)).contiguous().numpy()
    places = None if argmax is None else argmax.numpy()
    if x.dtype == torch.bfloat16:       # NumPy lacks bfloat16: the kernel writes its bits
        _cpu.roi_pool_forward_bfloat16(pixels, rois.numpy(), spatial_scale, _threads(y),
                                       y.view(torch.uint16).numpy(), places)
    else:
        _cpu.roi_pool_forward(pixels, rois.numpy(), spatial_scale, _threads(y), y.numpy(), places)
    return y, argmax


def roi_pool_backward(dy: torch.Tensor, argmax: torch.Tensor, rois: torch.Tensor, input_shape: tuple[int, ...],
                      spatial_scale: float) -> torch.Tensor:
    """Gradient of `roi_pool_forward` with respect to x, of shape input_shape.

    dy and argmax are (R, C, pooled_h, pooled_w). A pixel receives the gradient of every bin whose maximum it was, if it
    lies inside the RoI: malformed RoIs contribute nothing, nor do bins to pixels past the edge of their RoI. RoIs are
    summed in order, which gives the same bits for any number of threads.
    """
    images, channels, height, width = input_shape
    rois = rois.detach().to(dy.device, torch.float32).contiguous()
    dy, argmax = dy.detach().contiguous(), argmax.contiguous()
    dx = dy.new_zeros((images, channels, height, width))
    if dx.numel() == 0 or dy.numel() == 0:
        return dx
    if cuda.holds(dy):
        cuda.launch_each("roi_pooling", f"roi_pool_backward_{_type_name(dy)}",
                         (dy, argmax, rois, dx, len(rois), images, channels, height, width, *dy.shape[2:],
                          float(spatial_scale)), dx.numel(), dy.device)
    else:
        _cpu.roi_pool_backward(dy.numpy(), argmax.numpy(), rois.numpy(), spatial_scale, _threads(dy), dx.numpy())
    return dx


def _checked_rois(x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
    """The RoIs as a contiguous float32 array on x's device."""
    if x.ndim != 4:
        raise ValueError(f"roi_pool_forward: x must have the shape (N, C, H, W), got {tuple(x.shape)}")
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(f"roi_pool_forward: rois must have the shape (R, 5), got {tuple(rois.shape)}")
    _kernel_type(x)
    return rois.detach().to(x.device, torch.float32).contiguous()


def _check_values(x: torch.Tensor, rois: torch.Tensor) -> None:
    finite = torch.isfinite(rois).all(dim=1)
    known = (rois[:, 0] >= 0) & (rois[:, 0] < len(x))
    bad = torch.nonzero(~(finite & known)).flatten().tolist()
    if bad:
        roi = [round(value, 2) for value in rois[bad[0]].tolist()]
        raise ValueError(f"roi_pool_forward: roi {bad[0]} is (image, x1, y1, x2, y2) = {roi}; "
                         f"the batch has {len(x)} image(s), counted from 0, and coordinates must be finite")


def _threads(values: torch.Tensor) -> int:
    return torch.get_num_threads() if values.numel() >= _WORTH_THREADS else 1


def _kernel_type(x: torch.Tensor) -> torch.dtype:
    """The type in which the kernels read features; bfloat16 is read as float32."""
    if x.dtype not in (torch.float32, torch.float64, torch.bfloat16):
        raise TypeError(f"RoI pooling takes float32, float64 or bfloat16, got {x.dtype}")
    return torch.float32 if x.dtype == torch.bfloat16 else x.dtype


def _type_name(x: torch.Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
