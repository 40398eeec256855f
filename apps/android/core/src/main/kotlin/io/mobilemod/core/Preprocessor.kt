package io.mobilemod.core

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
        require(width > 0 && height > 0 && argb.size >= width.toLong() * height) { "$width x $height pixels, ${argb.size} values" }
    }
}

/**
 * Turns a decoded image into the network's input as the manifest's `preprocess` says: EXIF
 * orientation, Pillow's antialiased resize to `round(side / crop_fraction)` on each side, which an
 * image that keeps its ratio covers or, letterboxed, lies within, centre crop, bars where there is less,
 * normalization. Alpha is dropped.
 *
 * Not thread-safe: buffers and weights are kept from one image to the next.
 */
class Preprocessor(
    private val spec: PreprocessSpec,
) {
    private val whole = Resized(roundHalfEven(spec.width / spec.cropFraction), roundHalfEven(spec.height / spec.cropFraction))
    private val normalized =
        Array(3) { c -> FloatArray(256) { value -> (value.toFloat() / 255f - spec.mean[c]) / spec.std[c] } }
    private var resampler = Resampler(spec.width, spec.height, spec.interpolation)

    /** Number of values of the network's input. */
    val inputSize: Int get() = 3 * spec.height * spec.width

    /** Shape of the network's input: (1, 3, height, width) or (1, height, width, 3). */
    val inputShape: LongArray
        get() {
            val (height, width) = spec.height.toLong() to spec.width.toLong()
            return if (spec.layout == PreprocessSpec.Layout.NCHW) longArrayOf(1, 3, height, width) else longArrayOf(1, height, width, 3)
        }

    /** The image as float32 in [layout], the manifest's where none is given; `inputSize` values. */
    fun tensor(
        image: DecodedImage,
        layout: PreprocessSpec.Layout = spec.layout,
    ): FloatArray = normalize(pixels(image), layout)

    /** uint8 (height, width, 3), row by row, to the network's input. */
    fun normalize(
        pixels: ByteArray,
        layout: PreprocessSpec.Layout = spec.layout,
    ): FloatArray {
        require(pixels.size == inputSize) { "${pixels.size} bytes, not $inputSize" }
        val tensor = FloatArray(inputSize)
        val plane = spec.height * spec.width
        val (step, channelStep) = if (layout == PreprocessSpec.Layout.NCHW) 1 to plane else 3 to 1
        for (c in 0 until 3) {
            val values = normalized[c]
            var to = c * channelStep
            for (from in c until pixels.size step 3) {
                tensor[to] = values[pixels[from].toInt() and 255]
                to += step
            }
        }
        return tensor
    }

    /** An image that has the network's size already, as uint8 (height, width, 3) without resize or crop. */
    fun asIs(image: DecodedImage): ByteArray {
        require(image.width == spec.width && image.height == spec.height) {
            "${image.width} x ${image.height} pixels, not ${spec.width} x ${spec.height}"
        }
        return ByteArray(inputSize) { i -> (image.argb[i / 3] shr SHIFT[i % 3]).toByte() }
    }

    /** The resized and cropped image, uint8 (height, width, 3), row by row. */
    fun pixels(image: DecodedImage): ByteArray {
        val upright = Upright(image)
        val (width, height) = resized(upright.width, upright.height)
        val inside = min(width, spec.width.toLong()).toInt() to min(height, spec.height.toLong()).toInt()
        if (resampler.width != inside.first || resampler.height != inside.second) {
            resampler = Resampler(inside.first, inside.second, spec.interpolation)
        }
        return setIn(resampler.centre(upright, width, height), inside.first, inside.second)
    }

    /** [width] x [height] pixels in the middle of the input, what is nearest to 0 when normalized beside them. */
    private fun setIn(
        pixels: ByteArray,
        width: Int,
        height: Int,
    ): ByteArray {
        if (width == spec.width && height == spec.height) return pixels
        val bar = spec.mean.map { roundHalfEven(255 * it.toDouble()).coerceIn(0, 255).toByte() }
        val whole = ByteArray(inputSize) { bar[it % 3] }
        val left = (spec.width - width) / 2
        val top = (spec.height - height) / 2
        for (y in 0 until height) {
            pixels.copyInto(whole, 3 * ((top + y) * spec.width + left), 3 * y * width, 3 * (y + 1) * width)
        }
        return whole
    }

    /** What an image of [width] x [height] becomes, before the centre is cropped. */
    private fun resized(
        width: Int,
        height: Int,
    ): Resized {
        if (spec.fit == PreprocessSpec.Fit.STRETCH) return whole
        if (spec.fit == PreprocessSpec.Fit.LETTERBOX) {
            val scale = min(whole.width.toDouble() / width, whole.height.toDouble() / height)
            return Resized(max(1, roundHalfEven(width * scale)), max(1, roundHalfEven(height * scale)))
        }
        val scale = max(whole.width.toDouble() / width, whole.height.toDouble() / height)
        return Resized(max(whole.width, roundHalfEven(width * scale)), max(whole.height, roundHalfEven(height * scale)))
    }

    private data class Resized(
        val width: Long,
        val height: Long,
    )

    companion object {
        private val SHIFT = intArrayOf(16, 8, 0)

        private fun roundHalfEven(value: Double): Long = Math.rint(value).toLong()
    }
}
