package io.mobilemod.core

import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.log10
import kotlin.math.pow

/** Round numbers for a chart's axis. */
object Ticks {
    /** From at or below [low] to at or above [high], about [count] steps of 1, 2 or 5 times a power of ten. */
    fun of(
        low: Double,
        high: Double,
        count: Int = 4,
    ): List<Double> {
        val span = if (high > low) high - low else 1.0
        val power = 10.0.pow(floor(log10(span / count)))
        val step = power * (listOf(1, 2, 5).firstOrNull { it * power * count >= span } ?: 10)
        val begin = floor(low / step).toInt()
        val end = maxOf(ceil(high / step).toInt(), begin + 1)
        return (begin..end).map { it * step }
    }
}

/** At most [most] points of a series by time: of each of so many equal spans its middle and the median of its values. */
fun thinned(
    series: List<Pair<Double, Double>>,
    most: Int,
): List<Pair<Double, Double>> {
    if (series.size <= most) return series
    val begin = series.first().first
    val span = (series.last().first - begin) / most
    return series
        .groupBy { (at, _) -> ((at - begin) / span).toInt().coerceAtMost(most - 1) }
        .toSortedMap()
        .map { (slot, points) -> begin + (slot + 0.5) * span to Summary.of(points.map { it.second }).p50 }
}
