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
 * orientation, shorter side to `round(size / crop_fraction)` by Pillow's antialiased resize, centre
 * crop, normalization. Alpha is dropped.
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
    private val resampler = Resampler(size, spec.interpolation)

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
        return resampler.centre(upright, width, height)
    }

    companion object {
        private val SHIFT = intArrayOf(16, 8, 0)

        private fun roundHalfEven(value: Double): Long = Math.rint(value).toLong()
    }
}
