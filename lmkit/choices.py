"""What a setting may be: names and what they mean, one table per kind.

A table is where a new loss or decoder is registered; the function of the same name lives in the
module that the table names.
"""

SIDES = {
    "left": "the patient's left",
    "right": "the patient's right",
    "both": "one model, left sides mirrored onto right ones",
    "joint": "one model, one map per landmark and side",
}
MODELS = {  # lmkit.model
    "unet": "U-Net, widths and stem stride from the settings",
    "cascade": "a U-Net for where about, a second one in a window about each landmark",
}
LOSSES = {  # lmkit.losses
    "mse": "mean squared error of the maps",
    "weighted_mse": "mean squared error, more weight where the target is high",
    "combined": "the document's: mse_weight MSE + peak_weight distance of the peaks",
    "adaptive_wing": "Adaptive Wing on the maps (Wang et al. 2019)",
    "wing": "Wing on the softmax's mean position (Feng et al. 2018)",
    "cross_entropy": "cross-entropy of a softmax over the map with the target",
    "kl": "the same less the target's entropy",
    "dsnt_js": "distance of the softmax's mean, plus Jensen-Shannon (Nibali et al. 2018)",
    "star": "distance along the axes of the predicted spread (Zhou et al. 2023)",
}
LOSS_UNITS = {
    "raw": "as published: amplitude squared, heatmap pixels",
    "relative": "1 = the squared error of an empty map; 1 = 1 % of the map's diagonal",
}
PEAK_DECODERS = {
    "argmax": "the document's, literally: no gradient",
    "soft": "softmax-weighted mean position: has a gradient",
}
ENSEMBLE_BY = {  # lmkit.evaluate
    "maps": "mean of the members' heatmaps, then decoded",
    "mean": "mean of the members' points",
    "median": "median of the members' points, x and y apart",
}
DECODERS = {  # lmkit.decoders
    "argmax": "the brightest pixel, whole pixels",
    "quarter": "a quarter of a pixel towards the brighter neighbour",
    "dark": "one Newton step on the log of the map (Zhang et al. 2020)",
    "local_softargmax": "softmax-weighted mean about the brightest pixel",
    "softargmax": "softmax-weighted mean over the whole map",
    "gaussian_fit": "least-squares fit of a Gaussian about the brightest pixel",
}
TARGETS = {  # lmkit.heatmap
    "peak": "the map is `amplitude` at the landmark itself",
    "mass": "a delta of `amplitude` at the rounded landmark, blurred, cut at 1 sigma",
}
AUGMENTS = {  # lmkit.augment; any of them joined by +
    "none": "images as they are",
    "mirror": "left to right, one image in two; for joint, or with mirror_pairs in dataset.yaml",
    "affine": "rotation, scale and shift",
    "intensity": "gain, gamma, blur and noise",
    "elastic": "smooth local displacements",
    "cutout": "rectangles covered",
}
TTA = {  # lmkit.evaluate
    "none": "each image once",
    "mirror": "each image and its mirror image, maps averaged; for augment with mirror",
}
SCHEDULERS = {  # lmkit.train
    "plateau": "times lr_factor when the monitor stalls for lr_patience epochs",
    "cosine": "from lr down to 1 % of it over the epochs",
    "onecycle": "from 4 % of lr up to lr over 30 % of the epochs, then down to 0.01 %",
    "constant": "lr throughout",
}
MONITORS = {
    "val_mre_mm": "validation mean radial error",
    "val_median_mm": "validation median radial error",
    "val_loss": "validation loss",
}
DEVICES = {"auto": "cuda where there is one", "cpu": "", "cuda": ""}
PRECISIONS = {
    "auto": "bf16 where the hardware has it",
    "float32": "",
    "bf16": "bfloat16 autocast, float32 weights and losses",
}
