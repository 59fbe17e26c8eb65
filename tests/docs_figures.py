"""What README.md and docs/ say in figures: fragments of their sentences, made of the files in `results/`.

MEASURED holds for each page the fragments whose figures stand in a file; WITHOUT_A_FILE those that no file can hold.
"""

import statistics

from docs_figures_of_vtn import of_vtn
from docs_records import error, mean, means, minutes, render

SLOW_LOCALISER, LONG, NOT_HALVED = "---config.localiser_multiplier=0.3", "---config.steps=2400", "---config.pool=1"


def fully_connected():
    rts = "model=fcn,distortion=RTS"
    short = mean("stn_table1", f"{rts},short")
    return [
        f"Its error is {error('stn_table1', rts)}, no better than the {short:.1f} % of the short schedule.",
        f"The run took {minutes(f'stn_table1/{rts}-0')} minutes on one core",
    ]


def convolutional():
    def digits(model, more="", seed=0):
        return error("stn_table1", f"model={model},short{more}", seed)

    affine, linear = "st_cnn,warp=affine,distortion=", "st_cnn,warp=linear,distortion="
    rts = [digits(f"{affine}RTS", SLOW_LOCALISER, seed).removesuffix(" %") for seed in render.SEEDS]
    cnn, halved = "cnn,distortion=TC", "---config.pool=2"
    return [
        f"An error of {digits(f'{linear}RTS')} is chance.",
        f"ST-CNN affine ends at {rts[0]}, {rts[1]} and {rts[2]} % for RTS",
        f"ST-CNN linear ends at {digits(f'{linear}RTS', SLOW_LOCALISER)} with seed 0.",
        f"seed 0 the CNN ends at {digits('cnn,distortion=R', LONG)}. ST-CNN affine ends at "
        f"{digits(f'{affine}R', LONG + SLOW_LOCALISER)}, with",
        f"For TC the CNN ends at {digits(cnn, LONG)} after the same 2,400 steps",
        f"ST-CNN affine ends at {digits(f'{affine}TC', LONG + SLOW_LOCALISER)}, far from",
        f"its error is {digits(cnn, halved)} after 600 steps and {digits(cnn, halved + LONG)} after 2,400 steps. "
        f"ST-CNN affine, which reads the same resolution, is better both times, at {digits(f'{affine}TC')} and "
        f"{digits(f'{affine}TC', LONG + SLOW_LOCALISER)}.",
        f"the error of ST-CNN affine is {digits(f'{affine}TC', SLOW_LOCALISER + NOT_HALVED)} after 600 steps and "
        f"{digits(f'{affine}TC', NOT_HALVED + SLOW_LOCALISER + LONG)} after 2,400 steps. It is still behind the CNN, "
        f"which has {digits(cnn)} and {digits(cnn, LONG)}, but",
    ]


def two_digits():
    errors = means("two_digits")
    field, frozen = "VTN, a field a channel", "VTN, a field a channel, E = 0"
    cnn, vtn = (
        statistics.median(run["seconds"] for run in render.results("two_digits", f"model={model}")) / 60
        for model in ("cnn", "vtn_two")
    )
    (first, other), (swapped, second) = render.figures("addition")["correlation"]
    gained = errors["ST-FCN (42 x 42)"] - errors["2xST-FCN (42 x 42)"]
    return [
        f"A run of the CNN takes {cnn:.0f} minutes on one core; one of a VTN takes {vtn:.0f}.",
        f"What VTN's estimator learns is worth {errors[frozen] - errors[field]:.1f} points.",
        f"Two transformers beat one in every seed, by {gained:.1f} points in the mean",
        f"the place of the first digit by {first:.2f} and with that of the second by {other:.2f}. For the second "
        f"transformer the correlations are {swapped:.2f} and {second:.2f}.",
        f"The CNN of the table above is at {errors['CNN (42 x 42)']:.1f} %.",
    ]


def their_sum():
    field, lost = "model=vtn_two,label=sum", "model=affine_channels,label=sum,short"
    gained = mean("stn_addition", f"{field},frozen,short") - mean("stn_addition", f"{field},short")
    longest = "model=st_fcn,warp=affine,label=sum,short---config.steps=12000-0"
    return [
        f"The CNN takes {minutes('stn_addition/model=cnn,label=sum,short-2')} minutes a run on one core.",
        f"the estimator is worth {gained:.1f} points.",
        f"In the third seed it ends at chance, {error('stn_addition', lost, 2)}:",
        f"These runs take {minutes('stn_addition/model=fcn,label=sum,short---config.steps=12000-0')} to "
        f"{minutes(f'stn_addition/{longest}')} minutes on one core.",
    ]


def volumes():
    return [f"It took {minutes('stn_volumes/model=cnn,short-0')} minutes on a core that other work shared."]


def colocalisation():
    tries = [render.record(f"experiments/colocalisation/TC-{label}-0")["tries"] for label in render.CLASSES]
    found = [[run["found"] for run in each] for each in tries]
    chosen = [min(each, key=lambda run: run["loss"])["found"] for each in tries]
    right = sum(mine == max(each) for mine, each in zip(chosen, found, strict=True))
    return [
        f"by up to {100 * max(max(each) - min(each) for each in found):.0f} points within a class. The loss chose the "
        f"best of the three localisers in {right} of 10 classes."
    ]


def of_stn():
    sections = (fully_connected, convolutional, two_digits, their_sum, volumes, colocalisation)
    return [fragment for section in sections for fragment in section()]


def of_tasn():
    errors = means("hidden_digits")
    gained = errors["TASN, the master-net alone"] - errors["TASN"]
    low, whole = (
        [error("solar", f"method={method},split=validation---config.learning_rate={rate}") for rate in ("1e-3", "3e-3")]
        for method in ("low", "tasn")
    )
    return [
        f"lowers the error by another {gained:.1f} points in the mean",
        f"TASN has an error of {whole[0]} at 1e-3 and of {whole[1]} at 3e-3, the plain network on resized images "
        f"{low[0]} and {low[1]}.",
    ]


def of_feature_maps():
    correlation = render.figures("angles")["correlation"]
    longer, halved = "---config.steps=6000", "---config.pool=2"

    def moved(network, more):
        return error("feature_maps", f"network={network},distortion=TC,short{more}")

    return [
        f"ends at {moved('cnn', halved)}. Without any halving",
        f"STN-C0 ends at {moved('stn_c0', NOT_HALVED)}, which",
        f"the CNN is at {moved('cnn', longer)}, the CNN with a halved input at {moved('cnn', halved + longer)} and "
        f"STN-C0 at {moved('stn_c0', longer)}.",
        f"their correlation is {correlation['STN-C1']:.2f}. STN-SL1 brings digits to one pose: its correlation is "
        f"{correlation['STN-SL1']:.2f}.",
    ]


def samplers():
    machines = [render.times(name) for name in ("sampling-cpu", "sampling-cpu-2")]
    alone = "reads or writes alone"
    reads = machines[1]["STN input"]["forward"]
    writes = [machine["VTN channels"]["to both"] for machine in machines]
    scattered = [f"{each[alone] / each['torch']:.2f}" for each in writes]
    one = [machine["STN input"]["to both"] for machine in machines]
    beside = [f"{each['vtnjax'] / each['map_coordinates']:.2f}" for each in one]
    return [
        f"those of PyTorch {render.record('sampling-cpu')['versions']['torch'].partition('+')[0]}'s",
        f"take {reads[alone] / reads['torch']:.1f} times as long as PyTorch's whole forward pass.",
        f"takes {scattered[0]} times as long as both of PyTorch's gradients on the first machine, and {scattered[1]} "
        "times as long on the second.",
        f"take {beside[0]} of the time of on the first machine, and {beside[1]} on the second.",
    ]


def networks():
    house = render.figures("house-numbers-cpu")["milliseconds"]
    tasn, vtn = render.figures("tasn-cpu")["results"], render.figures("vtn-cpu")["results"]
    attention = render.figures("attention-sampler-cpu")["results"][0]["milliseconds"]
    ours = {task: each["vtnjax lerp"] for task, each in attention.items()}
    ratio = {task: f"{each['vtnjax lerp'] / each['torch']:.2f}" for task, each in attention.items()}
    cost = {name: (f"{each['gflop']:.0f} GFLOP", f"{each['milliseconds']:.0f} ms") for name, each in tasn.items()}
    small, large = (" and ".join(cost[f"plain ResNet-50, {size}"]) for size in (224, 448))
    return [
        f"takes {100 * (house['multi'] / house['cnn'] - 1):.0f} % longer than one of the CNN, and one of ST-CNN Single "
        f"{100 * (house['single'] / house['cnn'] - 1):.0f} % longer.",
        f"takes {ours['forward']:.1f} ms, which is {ratio['forward']} times as long as PyTorch. With the gradient to "
        f"the images it takes {ours['to the image']:.1f} ms, {ratio['to the image']} times as long as PyTorch.",
        f"master-net alone costs {' and takes '.join(cost['TASN, master-net alone'])}",
        f"costs {small} at 224 pixels, and {large} at 448 pixels.",
        f"takes {vtn['ResNet-50, 32 groups']['milliseconds'] / 1000:.1f} s with a batch of 8.",
        f"it takes {vtn['VGG-19 without grouping']['milliseconds'] / 1000:.0f} s and "
        f"{vtn['VGG-19 without grouping']['step_gigabytes']:.1f} GB.",
    ]


def inputs():
    photos = render.figures("input-photos-cpu")["results"]
    speed = {(each["library"], each["work"]): f"{each['images_per_second']:.0f} images a second" for each in photos}
    plain, turned = "resize, crop, flip", "resize, rotate, crop, flip"
    waiting = max(each["waiting"] for each in render.figures("input-cpu")["results"])
    return [
        f"at {speed['vtnjax', plain]}, and with a rotation at {speed['vtnjax', turned]}. tf.data makes "
        f"{speed['tf.data', plain]} without the rotation and {speed['tf.data', turned]} with it.",
        f"a step is under way for at least {100 * (1 - waiting):.1f} % of the time.",
    ]


def on_a_gpu():
    steps = {name: each["milliseconds"] for name, each in render.figures("device-gpu").items()}

    def longer(name, plain):
        return f"{100 * (steps[name] / steps[plain] - 1):.0f} %"

    resnet, cnn = "ResNet-50, plain", "house numbers, cnn"
    tasn = {name: each["milliseconds"] for name, each in render.figures("device-tasn-gpu").items()}
    seeds = {name: each["milliseconds"] for name, each in render.figures("device-seeds-gpu").items()}
    return [
        f"takes {tasn['TASN, both nets'] / tasn['ResNet-50 at 224']:.1f} times as long as that of a ResNet-50 at 224",
        f"64 seeds of an ST-FCN take {seeds['ST-FCN, 64 seeds'] / seeds['ST-FCN, 1 seeds']:.1f} times as long as one",
        f"Samplers over PyTorch {render.record('sampling-gpu')['versions']['torch']}'s",
        f"the step of the ResNet-50 {longer('ResNet-50, VTN', resnet)} longer, and an STN "
        f"{longer('ResNet-50, STN', resnet)}. The step of ST-CNN Multi takes {longer('house numbers, multi', cnn)} "
        "longer than that of the CNN.",
    ]


def of_speed():
    return [*samplers(), *networks(), *on_a_gpu(), *inputs()]


def of_configs():
    parts, digits = means("composites"), means("digits_stn")
    return {
        "composites": f"{parts['nothing']:.1f} % without a warp, {parts['an affine warp a group']:.1f} % with one "
        f"affine warp for each group, and {parts['VTN']:.1f} % with a VTN.",
        "digits_stn": f"ends at a test error of {digits['ST-FCN']:.1f} %, the mean of three seeds. "
        f"A plain network of as many parameters, `model=fcn`, ends at {digits['FCN']:.1f} %",
    }


def of_pods():
    counted = render.figures("pod-cpu")["counted"]
    return [
        f"An image takes {counted['gigaflops_an_image']:.0f} GFLOP, forward and backward.",
        f"of which {100 * render.figures('pod-cpu')['reached']:.0f} % are assumed",
    ]


def of_retrieval():
    verified = render.figures("verification-cpu")
    faster = sorted(each["faster"] for each in verified["results"].values())
    photographs = verified["photographs"]
    wall = photographs["graf1, graf3"]
    asmk, described = render.figures("asmk-cpu"), render.figures("describing-cpu")
    return [
        f"takes {asmk['assigning_ms']:.0f} ms of a query. The process held {asmk['peak_gigabytes']:.1f} GB at most.",
        f"images of {described['sizes']} sizes took {described['seconds, exact=False']:.0f} seconds in place of "
        f"{described['seconds, exact=True']:.0f}, compiling included",
        f"was {described['mean cosine']:.3f} in the mean and {described['lowest cosine']:.3f} at the lowest",
        f"has it at {faster[0]:.0f} to {faster[-1]:.0f} times the speed of",
        f"views of a painted wall {wall['inliers']} matches are inliers, and {100 * wall['right']:.1f} % of them lie",
        f"Notre-Dame and the cathedral of Chartres have {photographs['Notre-Dame, Chartres']['inliers']} inliers.",
    ]


MEASURED = {
    "docs/pods.md": of_pods,
    "docs/retrieval.md": of_retrieval,
    "docs/results/stn.md": of_stn,
    "docs/results/tasn.md": of_tasn,
    "docs/results/vtn.md": of_vtn,
    "docs/results/feature-maps.md": of_feature_maps,
    "docs/speed.md": of_speed,
}
# Figures of the papers, settings of runs, and what was measured by the command beside it and left no file.
WITHOUT_A_FILE = {
    "docs/design.md": ["evenly in 15 degrees to either side"],
    "docs/pods.md": ["and 16 GB of memory"],
    "docs/results/stn.md": [
        "Its error was 5.0 % then, a third of the FCN's.",
        "close to the paper's 3.5 %.",
        "the paper's 1.7 %.",
        "its figures for the sum of the digits are 9.0 % and 14.7 %.",
        "their error is 15.3 %. This run took 14 minutes on a core that other work shared.",
        "its errors were 63.9, 58.1 and 59.4 %, and those of the FCN 59.4, 61.5 and 60.1 %.",
        "a test error of 3.3 %.",
        "57 % of the zeros, 29 % of the ones and 58 % of the eights",
    ],
    "docs/results/tasn.md": ["at most 3.5 %", "98 to 100 %"],
    "docs/results/feature-maps.md": [
        "The digits are turned by up to 90 degrees",
        "For digits turned by up to 90 degrees",
        "0.34 for STN-SL1, 0.27 for STN-C1 and 0.28 for STN-C0.",
    ],
    "docs/results/vtn.md": ["because a step takes 6 s on two cores and a run two hours"],
    "docs/speed.md": [
        "The paper reports 6 % for Multi",
        "trains on 162 images a second.",
        "it trains on 101 images a second.",
    ],
}
