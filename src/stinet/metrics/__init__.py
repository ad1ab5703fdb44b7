"""How close frames come to the truth: alone (fidelity, lpips) and as a film (motion).

Knows neither clips nor models: tensors in, one number per frame or pair of frames out.
"""

from stinet.metrics.fidelity import PEAK, PSNR_CAP_DB, luma, psnr, ssim

__all__ = ["PEAK", "PSNR_CAP_DB", "luma", "psnr", "ssim"]
