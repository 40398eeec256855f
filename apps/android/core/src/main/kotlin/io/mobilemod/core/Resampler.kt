package io.mobilemod.core

import io.mobilemod.core.ResampleAxis.Companion.PRECISION
import java.util.stream.IntStream
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
    private var columns: ResampleAxis? = null
    private var rows: ResampleAxis? = null
    private val passes = ArrayList<ResamplePasses>()

    /** The centre of [image] resized to [wide] x [high]: uint8 (height, width, 3), row by row. */
    fun centre(
        image: Upright,
        wide: Long,
        high: Long,
    ): ByteArray {
        val columns = axis(columns, image.width, wide, width).also { columns = it }
        val rows = axis(rows, image.height, high, height).also { rows = it }
        val out = ByteArray(width * height * 3)
        // Pillow's order, which shows in the last bit.
        val verticalFirst = image.height - high > max(0L, 2 * (image.width - wide))
        val work =
            if (verticalFirst) {
                ResampleWork(image.argb, image.origin, rows, image.stepY, columns, image.stepX, out, 3 * width, 3)
            } else {
                ResampleWork(image.argb, image.origin, columns, image.stepX, rows, image.stepY, out, 3, 3 * width)
            }
        val parts = if (work.reads < SMALL) 1 else min(Runtime.getRuntime().availableProcessors(), MOST_PARTS)
        while (passes.size < parts) passes.add(ResamplePasses())
        val size = work.second.size
        IntStream.range(0, parts).parallel().forEach { passes[it].run(work, it * size / parts, (it + 1) * size / parts) }
        return out
    }

    private fun axis(
        known: ResampleAxis?,
        from: Int,
        to: Long,
        size: Int,
    ): ResampleAxis = known?.takeIf { it.from == from && it.to == to } ?: ResampleAxis(from, to, size, interpolation)

    private companion object {
        /** Pixels below which other threads cost more than they bring. */
        const val SMALL = 1_000_000L
        const val MOST_PARTS = 4
    }
}
