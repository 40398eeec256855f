package io.mobilemod.core

import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class ComparisonTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private fun answering(
        name: String,
        best: Int,
        order: ArrayList<String> = ArrayList(),
    ) = object : io.mobilemod.core.harness.Engine by LinearEngine(1, 4) {
        override fun run(input: FloatArray): FloatArray {
            order.add(name)
            return FloatArray(4) { if (it == best) 1f else 0f }
        }
    }

    @Test
    fun countsHowOftenTheyAgreeAndTakesTurnsToBegin() {
        val manifest = TestBundle(temporary.newFolder()).manifest
        val image = DecodedImage(40, 40, IntArray(1600))
        val order = ArrayList<String>()
        val (int8, float) = manifest.files

        fun pair(other: Int) =
            Comparison(Classifier(manifest, int8, answering("a", 2, order)), Classifier(manifest, float, answering("b", other, order)))
        val different = pair(1)
        assertEquals(0.0, different.classify(image).alikePercent)
        val compared = different.classify(image)
        assertEquals(listOf(2, 1), listOf(compared.first.top[0].index, compared.second.top[0].index))
        assertEquals(2, compared.pictures)
        assertEquals(listOf("a", "b", "b", "a"), order)
        assertEquals(100.0, pair(2).classify(image).alikePercent)
    }

    @Test
    fun ticksAreRoundAndCoverTheRange() {
        assertEquals(listOf(0.0, 5.0, 10.0, 15.0, 20.0), Ticks.of(0.0, 17.0))
        assertEquals(listOf(10.0, 12.0, 14.0, 16.0), Ticks.of(11.0, 15.2, 3))
        assertTrue(Ticks.of(3.0, 3.0).let { it.first() <= 3.0 && it.last() > 3.0 })
    }

    @Test
    fun aThinnedSeriesKeepsItsSpansMedians() {
        val series = List(1000) { it.toDouble() to if (it < 500) 5.0 else 10.0 }
        val points = thinned(series, 10)
        assertEquals(List(5) { 5.0 } + List(5) { 10.0 }, points.map { it.second })
        assertTrue(points.zipWithNext().all { (a, b) -> a.first < b.first })
        assertEquals(series.take(3), thinned(series.take(3), 10))
    }
}
