package io.mobilemod.core

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * A decoded image: [argb] has [width] x [height] values, row by row, 0xAARRGGBB, not premultiplied.
 * [orientation] is EXIF's, 1 to 8; any other value counts as 1.
 */
class DecodedImage(
    val width: Int,
    val height: Int,
    val argb: IntArray,
    val orientation: Int = 1,
) {
    init {
        require(width > 0 && height > 0 && argb.size >= width * height) { "$width x $height pixels, ${argb.size} values" }
    }
}

/**
 * Turns a decoded image into the network's input as the manifest's `preprocess` says: EXIF
 * orientation, shorter side to `round(size / crop_fraction)` by Pillow's antialiased resize, centre
 * crop, normalization. Alpha is dropped. Bit-equal to Pillow's 8-bit resize: each pass sums with
 * weights of [PRECISION] fractional bits, rounds and clips (source: Pillow's Resample.c, its
 * description). Only what survives the crop is computed.
 *
 * Not thread-safe: buffers and weights are kept from one image to the next.
 */
class Preprocessor(
    private val spec: PreprocessSpec,
) {
    private val size = spec.size
    private val short = roundHalfEven(size / spec.cropFraction)
    private val normalized =
        Array(3) { c -> FloatArray(256) { value -> (value.toFloat() / 255f - spec.mean[c]) / spec.std[c] } }
    private var columns: Weights? = null
    private var rows: Weights? = null
    private var between = ByteArray(0)

    /** Number of values of the network's input. */
    val inputSize: Int get() = 3 * size * size

    /** Shape of the network's input: (1, 3, size, size) or (1, size, size, 3). */
    val inputShape: LongArray
        get() =
            size.toLong().let {
                if (spec.layout == PreprocessSpec.Layout.NCHW) longArrayOf(1, 3, it, it) else longArrayOf(1, it, it, 3)
            }

    /** The image as float32 in [layout], the manifest's where none is given; `inputSize` values. */
    fun tensor(
        image: DecodedImage,
        layout: PreprocessSpec.Layout = spec.layout,
    ): FloatArray = normalize(pixels(image), layout)

    /** uint8 (size, size, 3), row by row, to the network's input. */
    fun normalize(
        pixels: ByteArray,
        layout: PreprocessSpec.Layout = spec.layout,
    ): FloatArray {
        require(pixels.size == inputSize) { "${pixels.size} bytes, not $inputSize" }
        val tensor = FloatArray(inputSize)
        val plane = size * size
        for (i in 0 until plane) {
            for (c in 0 until 3) {
                val value = normalized[c][pixels[3 * i + c].toInt() and 255]
                tensor[if (layout == PreprocessSpec.Layout.NCHW) c * plane + i else 3 * i + c] = value
            }
        }
        return tensor
    }

    /** An image that has the network's size already, as uint8 (size, size, 3) without resize or crop. */
    fun asIs(image: DecodedImage): ByteArray {
        require(image.width == size && image.height == size) {
            "${image.width} x ${image.height} pixels, not $size x $size"
        }
        return ByteArray(inputSize) { i -> (image.argb[i / 3] shr SHIFT[i % 3]).toByte() }
    }

    /** The resized and cropped image, uint8 (size, size, 3), row by row. */
    fun pixels(image: DecodedImage): ByteArray {
        val upright = Upright(image)
        val scale = short.toDouble() / min(upright.width, upright.height)
        val width = max(short, roundHalfEven(upright.width * scale))
        val height = max(short, roundHalfEven(upright.height * scale))
        val left = (width - size) / 2
        val top = (height - size) / 2
        if (spec.interpolation == PreprocessSpec.Interpolation.NEAREST) {
            return nearest(upright, width, height, left, top)
        }
        val columns = weights(columns, upright.width, width, left).also { columns = it }
        val rows = weights(rows, upright.height, height, top).also { rows = it }
        val first = rows.start.min()
        val last = (0 until size).maxOf { rows.start[it] + rows.count[it] }
        horizontal(upright, columns, first, last)
        return vertical(rows, first)
    }

    private fun horizontal(
        image: Upright,
        weights: Weights,
        first: Int,
        last: Int,
    ) {
        val needed = (last - first) * size * 3
        if (between.size < needed) between = ByteArray(needed)
        var to = 0
        for (y in first until last) {
            for (x in 0 until size) {
                var r = HALF
                var g = HALF
                var b = HALF
                var at = image.index(weights.start[x], y)
                val base = x * weights.taps
                for (k in base until base + weights.count[x]) {
                    val pixel = image.argb[at]
                    val weight = weights.values[k]
                    r += (pixel shr 16 and 255) * weight
                    g += (pixel shr 8 and 255) * weight
                    b += (pixel and 255) * weight
                    at += image.stepX
                }
                between[to++] = clip(r)
                between[to++] = clip(g)
                between[to++] = clip(b)
            }
        }
    }

    private fun vertical(
        weights: Weights,
        first: Int,
    ): ByteArray {
        val out = ByteArray(inputSize)
        val stride = size * 3
        for (y in 0 until size) {
            val from = (weights.start[y] - first) * stride
            val base = y * weights.taps
            for (i in 0 until stride) {
                var sum = HALF
                var at = from + i
                for (k in base until base + weights.count[y]) {
                    sum += (between[at].toInt() and 255) * weights.values[k]
                    at += stride
                }
                out[y * stride + i] = clip(sum)
            }
        }
        return out
    }

    private fun nearest(
        image: Upright,
        width: Int,
        height: Int,
        left: Int,
        top: Int,
    ): ByteArray {
        val out = ByteArray(inputSize)
        val xs = nearestIndices(image.width, width, left)
        val ys = nearestIndices(image.height, height, top)
        var to = 0
        for (y in ys) {
            for (x in xs) {
                val pixel = image.argb[image.index(x, y)]
                for (shift in SHIFT) out[to++] = (pixel shr shift).toByte()
            }
        }
        return out
    }

    // Pillow adds the step up instead of multiplying; the same rounding errors are wanted here.
    private fun nearestIndices(
        from: Int,
        to: Int,
        offset: Int,
    ): IntArray {
        val step = from.toDouble() / to
        var position = step * 0.5
        val found = IntArray(size)
        for (i in 0 until offset + size) {
            if (i >= offset) found[i - offset] = min(position.toInt(), from - 1)
            position += step
        }
        return found
    }

    private fun weights(
        known: Weights?,
        from: Int,
        to: Int,
        offset: Int,
    ): Weights =
        known?.takeIf { it.from == from && it.to == to && it.offset == offset }
            ?: Weights(from, to, offset, size, spec.interpolation)

    /** The image after its EXIF orientation, without a copy: a start and two steps into [argb]. */
    private class Upright(
        image: DecodedImage,
    ) {
        val argb = image.argb
        private val turned = image.orientation in 5..8
        val width = if (turned) image.height else image.width
        val height = if (turned) image.width else image.height
        val stepX: Int
        private val stepY: Int
        private val origin: Int

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

        fun index(
            x: Int,
            y: Int,
        ): Int = origin + x * stepX + y * stepY
    }

    /** For outputs [offset] until [offset] + size of [to]: which of [from] inputs count, how much. */
    private class Weights(
        val from: Int,
        val to: Int,
        val offset: Int,
        size: Int,
        interpolation: PreprocessSpec.Interpolation,
    ) {
        val start = IntArray(size)
        val count = IntArray(size)
        val taps: Int
        val values: IntArray

        init {
            val scale = from.toDouble() / to
            val stretch = max(scale, 1.0)
            val bicubic = interpolation == PreprocessSpec.Interpolation.BICUBIC
            val support = (if (bicubic) 2.0 else 1.0) * stretch
            taps = kotlin.math.ceil(support).toInt() * 2 + 1
            values = IntArray(size * taps)
            val exact = DoubleArray(taps)
            for (i in 0 until size) {
                val center = (i + offset + 0.5) * scale
                start[i] = max((center - support + 0.5).toInt(), 0)
                count[i] = min((center + support + 0.5).toInt(), from) - start[i]
                var sum = 0.0
                for (k in 0 until count[i]) {
                    val distance = abs((k + start[i] - center + 0.5) / stretch)
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

    companion object {
        private const val PRECISION = 22
        private const val HALF = 1 shl (PRECISION - 1)
        private const val CUBIC = -0.5
        private val SHIFT = intArrayOf(16, 8, 0)

        private fun clip(sum: Int): Byte = min(max(sum shr PRECISION, 0), 255).toByte()

        private fun roundHalfEven(value: Double): Int = Math.rint(value).toInt()
    }
}
