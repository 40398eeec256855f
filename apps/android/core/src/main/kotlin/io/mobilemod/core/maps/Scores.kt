package io.mobilemod.core.maps

import io.mobilemod.core.JsonException
import kotlin.math.max
import kotlin.math.min

/** Whether a file's output has its classes before the rows, or last. */
enum class ClassOrder {
    FIRST,
    LAST,
    ;

    companion object {
        /** The order in files of a target. */
        fun of(target: String): ClassOrder = if (target == "tflite") LAST else FIRST
    }
}

/**
 * Scores for each class at each pixel: [values] are (classes, height, width) or (height, width,
 * classes). A [JsonException] where they are another number.
 */
class Scores(
    private val values: FloatArray,
    private val size: MapSize,
    private val classes: Int,
    order: ClassOrder,
) {
    private val byClass = if (order == ClassOrder.FIRST) size.pixels else 1
    private val byPixel = if (order == ClassOrder.FIRST) 1 else classes

    init {
        if (values.size != classes * size.pixels) {
            val (height, width) = size
            throw JsonException("the model has ${values.size} outputs, manifest.json $classes classes on $height x $width")
        }
    }

    /**
     * The class of the largest score, of equal ones the lower; [NONE] everywhere where any score of
     * the image isn't finite.
     */
    fun map(): ClassMap {
        val codes = ByteArray(size.pixels)
        if (!isAnswer()) return noAnswer(size)
        for (i in codes.indices) {
            var at = i * byPixel
            var best = values[at]
            for (c in 1 until classes) {
                at += byClass
                if (values[at] > best) {
                    best = values[at]
                    codes[i] = c.toByte()
                }
            }
        }
        return ClassMap(size, codes)
    }

    /** As [map], of the scores at another size: borders between pixels, not along them. */
    fun smoothMap(other: MapSize): ClassMap {
        if (!isAnswer()) return noAnswer(other)
        val codes = ByteArray(other.pixels)
        val best = enlarged(0, other)
        for (c in 1 until classes) {
            val plane = enlarged(c, other)
            for (i in codes.indices) {
                if (plane[i] > best[i]) {
                    best[i] = plane[i]
                    codes[i] = c.toByte()
                }
            }
        }
        return ClassMap(other, codes)
    }

    /** The scores of class [index] at another size, bilinear: half-pixel centres, corners not aligned. */
    fun enlarged(
        index: Int,
        other: MapSize,
    ): FloatArray {
        val across = Axis(size.width, other.width)
        val down = Axis(size.height, other.height)
        // The rows are widened first, each once.
        val wide = DoubleArray(size.height * other.width)
        for (i in wide.indices) {
            val x = i % other.width
            val begin = index * byClass + i / other.width * size.width * byPixel
            val left = values[begin + across.low[x] * byPixel].toDouble()
            val right = values[begin + across.high[x] * byPixel].toDouble()
            wide[i] = left * (1 - across.share[x]) + right * across.share[x]
        }
        return FloatArray(other.pixels) {
            val y = it / other.width
            val x = it % other.width
            val share = down.share[y]
            (wide[down.low[y] * other.width + x] * (1 - share) + wide[down.high[y] * other.width + x] * share).toFloat()
        }
    }

    private fun isAnswer() = values.all { it.isFinite() }

    private fun noAnswer(size: MapSize) = ClassMap(size, ByteArray(size.pixels) { NONE.toByte() })

    /** Of each place on an axis its two neighbours, and the second one's share. */
    private class Axis(
        source: Int,
        target: Int,
    ) {
        private val at = DoubleArray(target) { max(0.0, (it + 0.5) * (source.toDouble() / target) - 0.5) }
        val low = IntArray(target) { min(at[it].toInt(), source - 1) }
        val high = IntArray(target) { min(low[it] + 1, source - 1) }
        val share = DoubleArray(target) { at[it] - low[it] }
    }
}
