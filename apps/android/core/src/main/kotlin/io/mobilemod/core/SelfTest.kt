package io.mobilemod.core

import io.mobilemod.core.maps.ClassMap
import kotlin.math.abs
import kotlin.math.max

/** What is wrong where a golden image's logits aren't the manifest's. */
enum class Fault {
    NONE,
    COLOR_ORDER,
    NOT_NORMALIZED,
    NOT_SCALED,
    TRANSPOSED,
    RUNTIME,
}

/**
 * One golden image through one model file: [difference] is the largest of any logit, of a network of
 * maps the percentage of the pixels that have another class.
 */
data class GoldenResult(
    val image: String,
    val fault: Fault,
    val difference: Float,
    val tolerance: Float,
)

/**
 * The golden self-test of one model file: the manifest's images, fed as the pixels they are, must
 * give the manifest's logits or map. Where they don't, the same pixels are fed with one deliberate
 * mistake at a time: if a mistake gives the right answer, the app's own input has the opposite one.
 */
class SelfTest(
    private val manifest: Manifest,
    private val file: String,
    private val preprocessor: Preprocessor = Preprocessor(manifest.preprocess),
) {
    private val target = manifest.files.first { it.file == file }.target

    /** Runs golden image [golden], decoded to [image], through [run], which takes inputs in [layout]. */
    fun check(
        golden: Golden,
        image: DecodedImage,
        layout: PreprocessSpec.Layout,
        run: (FloatArray) -> FloatArray,
    ): GoldenResult {
        val difference = differenceFrom(golden)
        val tolerance = tolerance(manifest, file)
        val pixels = preprocessor.asIs(image)
        val found = difference(run(preprocessor.normalize(pixels, layout)))
        if (found <= tolerance) return GoldenResult(golden.image, Fault.NONE, found, tolerance)
        val fault = mistakes(pixels, layout).firstOrNull { (_, input) -> difference(run(input)) <= tolerance }?.first
        return GoldenResult(golden.image, fault ?: Fault.RUNTIME, found, tolerance)
    }

    /** How far an output is from the manifest's answer. */
    private fun differenceFrom(golden: Golden): (FloatArray) -> Float {
        golden.maps[file]?.let { map -> return { otherPixels(it, map) } }
        val logits = golden.logits[file] ?: throw JsonException("manifest.json: ${golden.image} has no answer of $file")
        return { difference(it, logits) }
    }

    /** Percent of the pixels with another class; infinite where the output is of another size. */
    private fun otherPixels(
        output: FloatArray,
        expected: ClassMap,
    ): Float =
        try {
            val found = manifest.mapOutput(output, target)!!.map()
            (100 - found.alikePercent(expected)).toFloat()
        } catch (_: JsonException) {
            Float.POSITIVE_INFINITY
        }

    private fun mistakes(
        pixels: ByteArray,
        layout: PreprocessSpec.Layout,
    ): Sequence<Pair<Fault, FloatArray>> =
        sequence {
            val swapped = ByteArray(pixels.size) { pixels[it - it % 3 + 2 - it % 3] }
            yield(Fault.COLOR_ORDER to preprocessor.normalize(swapped, layout))
            yield(Fault.NOT_NORMALIZED to ordered(pixels, layout) { it / 255f })
            yield(Fault.NOT_SCALED to ordered(pixels, layout) { it })
            val other = PreprocessSpec.Layout.entries.first { it != layout }
            yield(Fault.TRANSPOSED to preprocessor.normalize(pixels, other))
        }

    private fun ordered(
        pixels: ByteArray,
        layout: PreprocessSpec.Layout,
        value: (Float) -> Float,
    ): FloatArray {
        val plane = preprocessor.inputSize / 3
        return FloatArray(pixels.size) { i ->
            val at = if (layout == PreprocessSpec.Layout.NCHW) 3 * (i % plane) + i / plane else i
            value((pixels[at].toInt() and 255).toFloat())
        }
    }

    companion object {
        private const val BASE = 1e-3f
        private const val STEPS = 5

        /** The manifest has five decimals, which may part equal logits a little. */
        private const val EQUAL = 1e-4f

        /** At borders of a map a rounding decides. */
        private const val OTHER_PIXELS_PERCENT = 3f

        /**
         * Of a map 3 % of its pixels; of logits 1e-3, and for an int8 file five steps of its output: the smallest distance between two
         * different logits of all golden images, as they are whole steps.
         */
        fun tolerance(
            manifest: Manifest,
            file: String,
        ): Float {
            if (manifest.map != null) return OTHER_PIXELS_PERCENT
            if (manifest.files.first { it.file == file }.precision != "int8") return BASE
            val sorted = manifest.golden.flatMap { it.logits[file].orEmpty() }.sorted()
            val steps = sorted.zipWithNext { a, b -> b - a }.filter { it > EQUAL }
            return BASE + STEPS * (steps.minOrNull() ?: 0f)
        }

        /** The largest difference of any logit; infinite where the counts or a value don't fit. */
        fun difference(
            logits: FloatArray,
            expected: List<Float>,
        ): Float {
            if (logits.size != expected.size) return Float.POSITIVE_INFINITY
            var largest = 0f
            for (i in logits.indices) {
                if (!logits[i].isFinite()) return Float.POSITIVE_INFINITY
                largest = max(largest, abs(logits[i] - expected[i]))
            }
            return largest
        }
    }
}
