package io.mobilemod.core

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min

/**
 * Pillow's antialiased resize, to the bit: two passes, each sums with weights of [PRECISION] fractional
 * bits, rounds and clips to 8 bits (source: Pillow's Resample.c and Geometry.c, their description). Only
 * the centre that a crop keeps is computed, [width] x [height] pixels.
 *
 * Not thread-safe: buffers and weights are kept from one image to the next.
 */
internal class Resampler(
    val width: Int,
    val height: Int,
    private val interpolation: PreprocessSpec.Interpolation,
) {
    private var columns: Axis? = null
    private var rows: Axis? = null
    private var between = ByteArray(0)

    /** The centre of [image] resized to [wide] x [high]: uint8 (height, width, 3), row by row. */
    fun centre(
        image: Upright,
        wide: Long,
        high: Long,
    ): ByteArray {
        val columns = axis(columns, image.width, wide, width).also { columns = it }
        val rows = axis(rows, image.height, high, height).also { rows = it }
        // Pillow's order, which shows in the last bit.
        val verticalFirst = image.height - high > max(0L, 2 * (image.width - wide))
        return if (verticalFirst) {
            first(image, rows, image.stepY, columns, image.stepX)
            second(columns, 3, height, 3 * width)
        } else {
            first(image, columns, image.stepX, rows, image.stepY)
            second(rows, 3 * width, width, 3)
        }
    }

    /** [between] becomes (positions that [other] reads, [axis]' size, 3). */
    private fun first(
        image: Upright,
        axis: Axis,
        step: Int,
        other: Axis,
        otherStep: Int,
    ) {
        val needed = (other.end - other.begin) * axis.size * 3
        if (between.size < needed) between = ByteArray(needed)
        var to = 0
        for (line in other.begin until other.end) {
            for (i in 0 until axis.size) {
                var r = HALF
                var g = HALF
                var b = HALF
                var at = image.origin + line * otherStep + axis.start[i] * step
                val base = i * axis.taps
                for (k in base until base + axis.count[i]) {
                    val pixel = image.argb[at]
                    val weight = axis.values[k]
                    r += (pixel shr 16 and 255) * weight
                    g += (pixel shr 8 and 255) * weight
                    b += (pixel and 255) * weight
                    at += step
                }
                between[to++] = clip(r)
                between[to++] = clip(g)
                between[to++] = clip(b)
            }
        }
    }

    /**
     * Over [between]'s first dimension; the result's bytes lie [step] apart, those of the other axis, of
     * [otherSize], [otherStep].
     */
    private fun second(
        axis: Axis,
        step: Int,
        otherSize: Int,
        otherStep: Int,
    ): ByteArray {
        val out = ByteArray(width * height * 3)
        val stride = otherSize * 3
        for (i in 0 until axis.size) {
            val from = (axis.start[i] - axis.begin) * stride
            val base = i * axis.taps
            for (other in 0 until stride) {
                var sum = HALF
                var at = from + other
                for (k in base until base + axis.count[i]) {
                    sum += (between[at].toInt() and 255) * axis.values[k]
                    at += stride
                }
                out[i * step + other / 3 * otherStep + other % 3] = clip(sum)
            }
        }
        return out
    }

    private fun axis(
        known: Axis?,
        from: Int,
        to: Long,
        size: Int,
    ): Axis = known?.takeIf { it.from == from && it.to == to } ?: Axis(from, to, size, interpolation)

    /** For the middle [size] outputs of [to]: which of [from] inputs count, how much. */
    private class Axis(
        val from: Int,
        val to: Long,
        val size: Int,
        interpolation: PreprocessSpec.Interpolation,
    ) {
        val start = IntArray(size)
        val count = IntArray(size) { 1 }
        val taps: Int
        val values: IntArray
        private val offset = (to - size) / 2
        private val scale = from.toDouble() / to

        init {
            if (interpolation == PreprocessSpec.Interpolation.NEAREST) {
                taps = 1
                values = IntArray(size) { 1 shl PRECISION }
                nearest()
            } else {
                val bicubic = interpolation == PreprocessSpec.Interpolation.BICUBIC
                val stretch = max(scale, 1.0)
                val support = (if (bicubic) 2.0 else 1.0) * stretch
                taps = ceil(support).toInt() * 2 + 1
                values = IntArray(size * taps)
                weigh(bicubic, support, 1.0 / stretch)
            }
        }

        /** The first input that is read, and the one after the last. */
        val begin = start[0]
        val end = start[size - 1] + count[size - 1]

        // Pillow adds the step up instead of multiplying; the same rounding errors are wanted here.
        private fun nearest() {
            var position = scale * 0.5
            for (i in 0 until offset + size) {
                if (i >= offset) start[(i - offset).toInt()] = min(position.toInt(), from - 1)
                position += scale
            }
        }

        private fun weigh(
            bicubic: Boolean,
            support: Double,
            inverse: Double,
        ) {
            val exact = DoubleArray(taps)
            for (i in 0 until size) {
                val center = (i + offset + 0.5) * scale
                start[i] = max((center - support + 0.5).toInt(), 0)
                count[i] = min((center + support + 0.5).toInt(), from) - start[i]
                var sum = 0.0
                for (k in 0 until count[i]) {
                    val distance = abs((k + start[i] - center + 0.5) * inverse)
                    exact[k] = if (bicubic) cubic(distance) else max(0.0, 1.0 - distance)
                    sum += exact[k]
                }
                for (k in 0 until count[i]) {
                    val share = (if (sum == 0.0) exact[k] else exact[k] / sum) * (1 shl PRECISION)
                    values[i * taps + k] = (if (share < 0) share - 0.5 else share + 0.5).toInt()
                }
            }
        }

        private fun cubic(x: Double): Double =
            when {
                x < 1.0 -> ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1
                x < 2.0 -> (((x - 5) * x + 8) * x - 4) * CUBIC
                else -> 0.0
            }
    }

    private companion object {
        const val PRECISION = 22
        const val HALF = 1 shl (PRECISION - 1)
        const val CUBIC = -0.5

        fun clip(sum: Int): Byte = min(max(sum shr PRECISION, 0), 255).toByte()
    }
}

/** An image after its EXIF orientation, without a copy: a start and two steps into [argb]. */
internal class Upright(
    image: DecodedImage,
) {
    val argb = image.argb
    private val turned = image.orientation in 5..8
    val width = if (turned) image.height else image.width
    val height = if (turned) image.width else image.height
    val stepX: Int
    val stepY: Int
    val origin: Int

    init {
        // Whether the stored columns and rows are walked backwards: EXIF 2.32, tag 0x0112.
        val backX = image.orientation in setOf(2, 3, 7, 8)
        val backY = image.orientation in setOf(3, 4, 6, 7)
        val column = if (backX) -1 else 1
        val row = if (backY) -image.width else image.width
        stepX = if (turned) row else column
        stepY = if (turned) column else row
        origin = (if (backX) image.width - 1 else 0) + (if (backY) (image.height - 1) * image.width else 0)
    }
}
