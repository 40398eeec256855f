package io.mobilemod.core.maps

import io.mobilemod.core.JsonException
import io.mobilemod.core.JsonObject
import io.mobilemod.core.Vectors
import org.junit.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Maps of classes are Python's, pixel by pixel. */
class MapsTest {
    private val vectors = Vectors.read("segments.json")

    private fun size(json: JsonObject) = MapSize(json.whole("height"), json.whole("width"))

    private fun codes(json: JsonObject) = json.numbers("codes").map { it.toInt().toByte() }.toByteArray()

    private fun map(json: JsonObject) = ClassMap(size(json), codes(json))

    private fun row(vararg codes: Int) = ClassMap(MapSize(1, codes.size), ByteArray(codes.size) { codes[it].toByte() })

    private fun assertSame(
        expected: ClassMap,
        found: ClassMap,
        name: String? = null,
    ) {
        assertEquals(expected.size, found.size, name)
        assertContentEquals(expected.codes, found.codes, name)
    }

    private fun floats(
        json: JsonObject,
        key: String,
    ) = json.list(key).map { (it as Number?)?.toFloat() ?: Float.NaN }.toFloatArray()

    @Test
    fun scoresBecomeClasses() {
        for (case in vectors.objects("scores")) {
            val order = ClassOrder.valueOf(case.text("order").uppercase())
            val scores = Scores(floats(case, "scores"), size(case), case.whole("classes"), order)
            assertSame(map(case), scores.map(), case.text("name"))
        }
    }

    @Test
    fun whatIsInfiniteIsNoAnswerAndAnotherNumberAnError() {
        val values = floatArrayOf(1f, Float.NEGATIVE_INFINITY, 3f, 4f)
        val scores = Scores(values, MapSize(1, 2), 2, ClassOrder.LAST)
        assertSame(row(255, 255), scores.map())
        assertSame(row(255, 255), scores.smoothMap(MapSize(1, 2)))
        assertFailsWith<JsonException> { Scores(values, MapSize(1, 2), 3, ClassOrder.LAST) }
    }

    @Test
    fun runsAreWrittenAndReadAlikeBrokenOnesRefused() {
        val cases = vectors.child("runs")
        for (case in cases.objects("good")) {
            val runs = case.numbers("runs").map { it.toLong() }
            val map = codes(case).let { ClassMap(MapSize(1, it.size), it) }
            assertEquals(runs, Runs.of(map))
            assertSame(map, Runs.read(runs, map.size))
        }
        for (case in cases.objects("broken")) {
            val runs = case.numbers("runs").map { it.toLong() }
            assertFailsWith<JsonException>("$runs") { Runs.read(runs, MapSize(1, case.whole("pixels"))) }
        }
    }

    @Test
    fun everyCodeHasItsColour() {
        val found = (0..255).flatMap { code -> Palette.colour(code).let { listOf(it shr 16, it shr 8 and 255, it and 255) } }
        assertEquals(vectors.numbers("palette").map { it.toInt() }, found)
    }

    @Test
    fun mapsAndScoresAtOtherSizes() {
        for (case in vectors.objects("nearest")) {
            val laid = map(case.child("laid"))
            assertSame(laid, map(case.child("map")).laidOn(laid.size))
        }
        for (case in vectors.objects("enlarged")) {
            val expected = map(case.child("map"))
            val classes = case.whole("classes")
            val scores = Scores(floats(case, "scores"), size(case), classes, ClassOrder.FIRST)
            val planes = (0 until classes).flatMap { scores.enlarged(it, expected.size).toList() }
            assertContentEquals(floats(case, "values"), planes.toFloatArray())
            assertSame(expected, scores.smoothMap(expected.size))
        }
    }

    @Test
    fun aMapBesideATruth() {
        val cases = vectors.objects("compared")
        for (case in cases) {
            val confusion = Confusion().add(map(case.child("answer")), map(case.child("truth")))
            val pairs =
                (0..255).flatMap { truth ->
                    (0..255).filter { confusion[truth, it] > 0 }.map { listOf(truth.toLong(), it.toLong(), confusion[truth, it]) }
                }
            assertEquals(case.list("pixels").toString(), pairs.toString())
            assertEquals(case.number("mean_iou"), confusion.meanIou(), 1e-9)
        }
        assertTrue(cases.size >= 6)
    }

    @Test
    fun sharesAndPixelsAlike() {
        val map = row(3, 3, 9, 255, 3, 1, 1, 9)
        assertEquals(listOf(Share(3, 3 / 7.0), Share(1, 2 / 7.0), Share(9, 2 / 7.0)), map.shares())
        // No class agrees with nothing.
        assertEquals(87.5, map.alikePercent(map))
    }
}
