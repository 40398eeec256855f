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

/** What a file's output tells of a map. */
interface MapOutput {
    /** At the output's own size; [NONE] everywhere where a pixel has no answer. */
    fun map(): ClassMap

    /** The map at another size. */
    fun smoothMap(other: MapSize): ClassMap
}

/**
 * The map itself: a class for each pixel as a number, [NONE] without one. A [JsonException] where they
 * are others. Nothing tells where borders lie between pixels, so a [smoothMap] has them along these.
 */
class MapCodes(
    values: FloatArray,
    private val size: MapSize,
    classes: Int,
) : MapOutput {
    private val codes: ByteArray

    init {
        val (height, width) = size
        if (values.size != size.pixels) {
            throw JsonException("the model has ${values.size} outputs, manifest.json a map of $height x $width")
        }
        val known = (0 until classes).toSet() + NONE
        values.find { it.toInt() !in known }?.let { throw JsonException("the model gives class $it of $classes") }
        val answered = values.none { it.toInt() == NONE }
        codes = ByteArray(size.pixels) { (if (answered) values[it].toInt() else NONE).toByte() }
    }

    override fun map() = ClassMap(size, codes)

    override fun smoothMap(other: MapSize) = map().laidOn(other)
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
) : MapOutput {
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
    override fun map(): ClassMap {
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
    override fun smoothMap(other: MapSize): ClassMap {
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
