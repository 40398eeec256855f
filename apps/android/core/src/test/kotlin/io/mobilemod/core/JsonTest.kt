package io.mobilemod.core

import org.junit.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class JsonTest {
    @Test
    fun readsWhatItWrites() {
        val value =
            mapOf(
                "text" to "ä \"\\\n\t\u0001 \u2028 \uD83D\uDC1F",
                "numbers" to listOf(0L, -1L, 1.5, 1e-7, 12345678901L),
                "nothing" to null,
                "truth" to listOf(true, false),
                "empty" to listOf(emptyMap<String, Any?>(), emptyList<Any?>()),
            )
        assertEquals<Any?>(value, Json.parse(Json.write(value)))
    }

    @Test
    fun writesOnlyFiniteNumbers() {
        assertEquals("[null,null,0.5]", Json.write(listOf(Double.NaN, Float.POSITIVE_INFINITY, 0.5f)))
    }

    @Test
    fun refusesWhatIsNoJson() {
        val wrong =
            listOf(
                "",
                " ",
                "{",
                "[1,]",
                "{\"a\":1,}",
                "{a:1}",
                "01",
                "1.",
                ".5",
                "+1",
                "NaN",
                "tru",
                "\"\\x\"",
                "\"\\u12g4\"",
                "\"a\nb\"",
                "\"open",
                "1 2",
                "[1 2]",
                "{\"a\" 1}",
                "\u0000",
                "[".repeat(5000),
                "-",
                "1e",
                "'a'",
            )
        for (text in wrong) assertFailsWith<JsonException>(text.take(20)) { Json.parse(text) }
    }

    @Test
    fun namesTheMember() {
        val json = JsonObject.parse("""{"a":{"b":[1,"x"]}}""", "file.json")
        val missing = assertFailsWith<JsonException> { json.child("a").text("c") }
        assertEquals("file.json.a: 'c' is missing", missing.message)
        val wrong = assertFailsWith<JsonException> { json.child("a").numbers("b") }
        assertEquals("file.json.a: 'b' is not an array of numbers", wrong.message)
    }
}
