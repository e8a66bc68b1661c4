"""Results in the form of other tools: COLMAP, hloc, kapture; and a sparse model by way of COLMAP.

Points here are counted from the centre of the top-left pixel; where a tool counts from that pixel's corner,
half a pixel is added in the last line before its file. Photos that lie turned in their files are turned back
where the tool does not turn them.
"""
