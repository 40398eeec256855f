package io.mobilemod.core

import kotlin.math.abs

/** Of a series: nearest-rank percentiles, extremes and the mean. */
data class Summary(
    val count: Int,
    val p50: Double,
    val p90: Double,
    val p99: Double,
    val min: Double,
    val max: Double,
    val mean: Double,
) {
    companion object {
        /** Of at least one value. */
        fun of(values: List<Double>): Summary {
            require(values.isNotEmpty()) { "no values" }
            val sorted = values.sorted()
            return Summary(
                sorted.size,
                percentile(sorted, 50),
                percentile(sorted, 90),
                percentile(sorted, 99),
                sorted.first(),
                sorted.last(),
                values.sum() / values.size,
            )
        }

        /** The value at rank `(q n + 99) / 100`, from 1, of [sorted] values. */
        fun percentile(
            sorted: List<Double>,
            q: Int,
        ): Double = sorted[(q * sorted.size + 99) / 100 - 1]
    }
}

/** The last [capacity] values, for figures that follow as it runs. */
class RollingWindow(
    private val capacity: Int,
) {
    private val values = ArrayDeque<Double>()

    /** Adds [value], dropping the oldest. */
    fun add(value: Double) {
        if (values.size == capacity) values.removeFirst()
        values.addLast(value)
    }

    /** Forgets all. */
    fun clear() = values.clear()

    /** Of the values held, or null where there are none. */
    fun summary(): Summary? = if (values.isEmpty()) null else Summary.of(values.toList())
}

/** When warm-up ends. */
object WarmUp {
    private const val GROUP = 8
    private const val TOLERANCE = 0.05

    /**
     * Whether [values] in ms are [max] or more, or stable: the median of the last eight within 5 % of
     * the median of the eight before.
     */
    fun isOver(
        values: List<Double>,
        max: Int,
    ): Boolean {
        if (values.size >= max) return true
        if (values.size < 2 * GROUP) return false
        val last = median(values.takeLast(GROUP))
        val before = median(values.takeLast(2 * GROUP).take(GROUP))
        return abs(last - before) <= TOLERANCE * before
    }

    private fun median(eight: List<Double>): Double = eight.sorted().let { (it[GROUP / 2 - 1] + it[GROUP / 2]) / 2 }
}

/** How a sustained run changes: its first minute against its last. */
data class Sustained(
    val first: Summary,
    val last: Summary,
    val lossPercent: Double,
) {
    companion object {
        /**
         * [ms] with the second [at] that each began; the windows are [window] s, or half the run
         * where it is shorter than two. Null for fewer than two values.
         */
        fun of(
            ms: List<Double>,
            at: List<Double>,
            window: Double = 60.0,
        ): Sustained? {
            if (ms.size < 2) return null
            val span = at.last() - at.first()
            val part = minOf(window, span / 2)
            val first = ms.filterIndexed { i, _ -> at[i] - at.first() <= part }
            val last = ms.filterIndexed { i, _ -> at.last() - at[i] <= part }
            val a = Summary.of(first)
            val b = Summary.of(last)
            return Sustained(a, b, 100 * (b.p50 / a.p50 - 1))
        }
    }
}

/** How many frames a second were answered, over the last [capacity]. */
class FrameRate(
    private val capacity: Int = 20,
) {
    private val times = ArrayDeque<Long>()

    /** A frame was answered at [nanos]. */
    fun add(nanos: Long) {
        times.addLast(nanos)
        if (times.size > capacity) times.removeFirst()
    }

    /** Null before the second frame. */
    fun perSecond(): Double? = if (times.size < 2) null else (times.size - 1) * 1e9 / (times.last() - times.first())

    fun clear() = times.clear()
}
