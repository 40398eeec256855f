"""Core ML: an ML program in float16, int8 where its graph says so."""

from mobilemod.targets.facts import Facts, Loading, Use

FACTS = Facts(
    name="coreml",
    suffix=".mlpackage",
    place=30,
    form="coreml",
    twin="float16",
    packages=("coremltools",),
    arithmetic="rounds every op's result to float16, as its scales, weights and biases are",
    relatives=(".mlmodel", ".mlmodelc"),
    lacks={
        "cut": "no profile of Core ML files here; "
        "'mobilemod bench --device mac' records where each op ran",
        "gpu": "Core ML files run on a Mac's and an iPhone's GPU alone",
    },
    explicit_int8=True,
    float16_scales=True,
    stand_in="Our MIL evaluator ran it here, which isn't Apple's runtime",
    answers=("scores", "classes"),
    loading=(
        Loading(
            "iOS: Core ML",
            "swift",
            """// Xcode compiles {file} to .mlmodelc when it is added to the app.
let model = try MLModel(contentsOf: compiled)
let answer = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: [name: pixels]))
// name: model.modelDescription.inputDescriptionsByName.keys.first; pixels: an MLMultiArray""",
        ),
    ),
    uses=(
        Use(
            "ios17",
            1,
            "Core ML, all compute units",
            "the Neural Engine, which computes int8 faster; what really ran where is in a device's "
            "report",
            "our evaluator on Linux, no phone",
        ),
        Use(
            "ios27",
            2,
            "Core ML, all compute units",
            "it runs there too",
            "our evaluator on Linux, no phone",
        ),
    ),
)
