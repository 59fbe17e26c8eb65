"""What docs/results/vtn.md says in figures: fragments of its sentences, made of the files in `results/`."""

import statistics

from docs_records import error, hours, mean, means, render

NEAR, ONE_FIELD = "---config.network.warp.pad=5", "---config.network.warp.groups=1"
PRODUCTS = "---config.network.head.orders=2---config.network.head.unit="
UNSCALED = "---config.network.scale=1.0---config.head_multiplier=1.0"
HEADS = ("bp", "cbp", "kp", "mpncov", "isqrt")


def of_parts():
    parts, digits = means("composites"), means("two_digits")
    balanced = parts["VTN, balanced batches"]
    return [
        f"it is only {parts['VTN, E = 0'] - parts['VTN']:.1f} points worse",
        f"loses {parts['VTN without probabilities'] - parts['VTN']:.1f} points.",
        f"cost {parts['nothing, balanced batches'] - parts['nothing']:.1f} points without a transformer and "
        f"{balanced - parts['VTN']:.1f} points with VTN",
        f"the error of VTN is {parts['VTN, the same, triplets of their own'] - parts['VTN']:.1f} points above",
        f"averaging it over the positions costs {parts['VTN, consistency averaged'] - balanced:.1f} points, and the "
        f"sum of Eq. 4 costs {parts['VTN, consistency as Eq. 4'] - balanced:.1f} points.",
        f"has a mean error of {digits['VTN, a field a channel']:.1f} % when it names both digits, against "
        f"{digits['VTN, one field']:.1f} % with one field and {digits['VTN, a field a channel, E = 0']:.1f} % with the "
        "estimator frozen.",
        f"which fits this motion exactly, has {digits['an affine warp a channel']:.1f} %.",
    ]


def frozen(variant):
    return mean("scenes_frozen", f"frozen,{variant}")


def of_frozen_features():
    without = {part: frozen(f"ablation={part}") for part in ("mixing", "probability", "consistency")}
    return [
        f"VTN lowers the error by {frozen('warp=none') - frozen('warp=vtn'):.1f} points",
        f"the VTN's error is {without['mixing']:.1f} %, and higher in every seed. Without the consistency loss it is "
        f"{without['consistency']:.1f} %, and higher in every seed too. Without probabilities it is "
        f"{without['probability']:.1f} %, which",
        f"With the attention as it is the error is {frozen('warp=asn,attention=plain'):.1f} %, against "
        f"{frozen('warp=none'):.1f} % without a warp and {frozen('warp=asn'):.1f} % with its square",
        f"reaches, its error is {frozen(f'warp=ssn{NEAR}'):.1f} %",
        f"no warp has an error of {frozen(f'warp=none{UNSCALED}'):.1f} % and SSN one of "
        f"{frozen(f'warp=ssn{UNSCALED}'):.1f} %",
    ]


def of_heads():
    alone = {head: frozen(f"warp=none,head={head}") for head in HEADS}
    behind = {head: frozen(f"warp=vtn,head={head}") for head in HEADS}
    products = {unit: frozen(f"warp=none,head=kp{PRODUCTS}{unit}") for unit in (True, False)}
    return [
        f"a bilinear head has an error of {alone['bp']:.1f} %, an iSQRT-COV head one of {alone['isqrt']:.1f} %, and",
        f"in place of the iterated one, {alone['mpncov']:.1f} %. A kernel pooling has {alone['kp']:.1f} %",
        f"its error is {products[True]:.1f} % with unit lengths, and {products[False]:.1f} % without",
        f"Here only kernel pooling is: {behind['kp']:.1f} % in place of {alone['kp']:.1f} %.",
        f"BP has {behind['bp']:.1f} % in place of {alone['bp']:.1f} %, CBP {behind['cbp']:.1f} % in place of "
        f"{alone['cbp']:.1f} %, MPN-COV {behind['mpncov']:.1f} % in place of {alone['mpncov']:.1f} %, and iSQRT-COV "
        f"{behind['isqrt']:.1f} % in place of {alone['isqrt']:.1f} %",
        f"with one field for all channels BP has {frozen(f'warp=vtn,head=bp{ONE_FIELD}'):.1f} % and MPN-COV "
        f"{frozen(f'warp=vtn,head=mpncov{ONE_FIELD}'):.1f} %",
        f"kernel pooling has {frozen(f'warp=vtn,head=kp{PRODUCTS}False'):.1f} % behind a VTN and "
        f"{products[False]:.1f} % without one",
        f"the mean error is {frozen('warp=ssn,head=bp'):.1f} %, which differs from {alone['bp']:.1f} % by less than",
    ]


def of_whole_networks():
    isqrt = "warp=none,head=isqrt,localise"
    by_hirescam = f"{isqrt},heat=hires_cam"
    located = {
        variant: statistics.mean(
            100 * (1 - run["figures"]["top1_localisation"]) for run in render.results("scenes", variant)
        )
        for variant in ("warp=none,localise", "warp=stn,localise", isqrt, by_hirescam)
    }
    slower = {
        warp: mean("scenes", f"warp={warp},localise---config.localiser_multiplier={factor}")
        for warp, factor in (("ssn", 1.0), ("stn", 0.1))
    }
    plain, vtn = mean("scenes", "warp=none,localise"), mean("scenes", "warp=vtn,localise")
    return [
        f"one of the others, which took {hours('scenes')} together",
        f"With a VTN the mean error is {vtn:.1f} %, and {plain:.1f} % without a warp",
        f"has the highest error in every seed, {mean('scenes', 'warp=none,dcl,localise'):.1f} %, and",
        f"in every seed, {located['warp=stn,localise']:.1f} % in the mean against "
        f"{located['warp=none,localise']:.1f} %.",
        f"With a VTN it has {mean('scenes', 'warp=vtn,dcl,localise'):.1f} %, and less in every seed",
        f"An iSQRT-COV head has {mean('scenes', isqrt):.1f} % without a warp and "
        f"{mean('scenes', 'warp=vtn,head=isqrt,localise'):.1f} % with a VTN",
        f"with one seed each, have {error('scenes', 'warp=asn,localise')} and "
        f"{error('scenes', 'warp=deformable,localise')}, where no warp has {error('scenes', 'warp=none,localise')}",
        f"to the size of the others, has an error of {mean('scenes', 'warp=tasn'):.1f} %",
        f"At a tenth of it SSN has {slower['ssn']:.1f} % in place of {mean('scenes', 'warp=ssn,localise'):.1f} %, and "
        f"STN {slower['stn']:.1f} % in place of {mean('scenes', 'warp=stn,localise'):.1f} %",
        f"the top-1 localisation error is {located[isqrt]:.1f} %. By HiResCAM",
        f"it is {located[by_hirescam]:.1f} % with one seed",
        f"is behind it here, with {mean('scenes', 'warp=ssn,localise'):.1f} %",
    ]


def of_retrieved_scenes():
    def medium(variant, figure="map_medium"):
        (run,) = render.results("scenes_retrieval", variant)
        return f"{100 * run['figures'][figure]:.1f} %"

    gem, vtn = (f"dataset=scenes,pool=gem{warp},split=validation---config." for warp in ("", ",warp=vtn"))
    fast, slow = (f"{vtn}learning_rate=1e-4---config.localiser_multiplier={factor}" for factor in (10, 3))
    alone = f"{vtn}objective.consistency.weight=1e-4"
    drawn = f"{alone}---config.localiser_multiplier=0.0"
    delf = "delf-stage=features,trunk=squeezenet,dataset=scenes,search=scenes"
    triplet = "---config.objective.name=triplet---config.objective.margin=0.1"
    alike = render.figures("likeness-cpu")
    cosines, spreads = ([alike[warp][name] for warp in ("vtn", "none")] for name in ("mean cosine", "spread, pixels"))
    return [
        f"learned for {hours('scenes_retrieval')} together",
        f"GeM has a Medium mAP of {medium(f'{gem}learning_rate=1e-4')} at 1e-4, and "
        f"{medium(f'{gem}learning_rate=3e-5')} at 3e-5.",
        f"a Medium mAP of {medium(f'dataset=scenes,pool=rmac{triplet}')} with seed 0",
        f"has a Medium mAP of {medium('dataset=scenes,pool=gem,warp=vtn---config.steps=0')}, and GeM without one "
        f"{medium('dataset=scenes,off,pool=gem')}.",
        f"where no warp has {medium(f'{gem}learning_rate=1e-4')}, a VTN",
        f"ends at {medium(drawn)}, and one that learns with a thousandth of the consistency loss at {medium(alone)}.",
        f"With the whole loss it ends at {medium(fast)}, and at three tenths of the VTN's rate at {medium(slow)}.",
        f"a Medium mAP of {medium(f'{delf}---config.evaluation.most=1000', 'asmk_map_medium')} by ASMK* alone",
        f"a mean cosine of {cosines[0]:.2f} with a VTN and of {cosines[1]:.2f} without",
        f"is {spreads[0]:.0f} pixels with it and {spreads[1]:.0f} pixels without",
    ]


def of_vtn():
    sections = (of_parts, of_frozen_features, of_heads, of_whole_networks, of_retrieved_scenes)
    return [fragment for section in sections for fragment in section()]
