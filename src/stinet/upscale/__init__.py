"""A video file, a folder of images or an image, from its place to the finished result."""

from stinet.upscale.plan import Plan, default_output, output_size, plan_upscale
from stinet.upscale.report import Progress, Summary
from stinet.upscale.run import upscale_video

__all__ = ["Plan", "Progress", "Summary", "default_output", "output_size", "plan_upscale", "upscale_video"]
