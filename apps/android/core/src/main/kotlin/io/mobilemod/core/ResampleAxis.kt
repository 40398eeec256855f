package io.mobilemod.core

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min

/**
 * For the middle [size] outputs of an axis that goes from [from] to [to] positions: which inputs count,
 * and how much, as Pillow weighs them (source: its Resample.c and Geometry.c).
 */
internal class ResampleAxis(
    val from: Int,
    val to: Long,
    val size: Int,
    interpolation: PreprocessSpec.Interpolation,
) {
    /** Of each output its first input, and how many there are. */
    val start = IntArray(size)
    val count = IntArray(size) { 1 }

    /** A multiple of [TAPS_AT_ONCE]: so many weights has each output in [values], the last ones 0. */
    val taps: Int

    /** Weights in steps of 2^-[PRECISION]. */
    val values: IntArray
    private val offset = (to - size) / 2
    private val scale = from.toDouble() / to

    init {
        if (interpolation == PreprocessSpec.Interpolation.NEAREST) {
            taps = TAPS_AT_ONCE
            values = IntArray(size * taps) { if (it % taps == 0) 1 shl PRECISION else 0 }
            nearest()
        } else {
            val bicubic = interpolation == PreprocessSpec.Interpolation.BICUBIC
            val stretch = max(scale, 1.0)
            val support = (if (bicubic) 2.0 else 1.0) * stretch
            taps = (ceil(support).toInt() * 2 + TAPS_AT_ONCE) / TAPS_AT_ONCE * TAPS_AT_ONCE
            values = IntArray(size * taps)
            weigh(bicubic, support, 1.0 / stretch)
        }
    }

    /** The input after the last one of output [i]. */
    fun end(i: Int) = start[i] + count[i]

    /** How many inputs lie from the first that counts to the last. */
    val reads get() = end(size - 1) - start[0]

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

    companion object {
        const val PRECISION = 22
        const val TAPS_AT_ONCE = 4
        private const val CUBIC = -0.5
    }
}
